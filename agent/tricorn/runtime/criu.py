"""CRIU: which one is here, what it can do on this kernel, what its logs say."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from attrs import evolve

from tricorn import limits
from tricorn.errors import DeadlineExceeded, TricornError, Unimplemented
from tricorn.model.checkpoints import DumpOptions
from tricorn.ports import CriuInfo
from tricorn.rules.criu import INSTALL, defect_of, explain
from tricorn.runtime import process

_PROBE_SECONDS: Final = 20.0
LAZY: Final = "uffd-noncoop"  # userfaultfd(2) with word of what processes do to their mappings
DIRTY: Final = "mem_dirty_track"  # the kernel tells which pages were written to
_FEATURES: Final = (DIRTY, LAZY, "nftables", "link_nsid")
_LOG: Final = 256 * limits.KIB
_KERNEL_CACHE: Final = "/run/criu.kdat.tmp"
_EMPTY_CACHE_AGE: Final = 60.0  # seconds after which nobody is writing it any more


async def probe(configured: str, environment: Mapping[str, str]) -> CriuInfo:
    """Look at the configured program, or at `criu` of PATH. Never raises: what is wrong is in `reason`."""
    path = configured or shutil.which("criu", path=environment.get("PATH")) or ""
    if not path:
        return CriuInfo("", reason="there is no criu in PATH", hint=f"install the package criu; {INSTALL}")
    try:
        done = await process.run([path, "--version"], environment, seconds=_PROBE_SECONDS)
    except (OSError, TricornError) as error:
        return CriuInfo(path, reason=f"it can't be run: {error}", hint=INSTALL)
    match = re.search(rb"^Version: (\S+)", done.stdout, re.MULTILINE)
    if done.code != 0 or match is None:
        return CriuInfo(path, reason=f"--version failed: {_words(done)}", hint=INSTALL)
    found = CriuInfo(path, match[1].decode(errors="replace"))
    if defect := defect_of(found.version, platform.release()):
        return evolve(found, reason=defect, hint=INSTALL)
    return await _checked(found, environment)


async def _checked(found: CriuInfo, environment: Mapping[str, str]) -> CriuInfo:
    remove_stale_cache()
    try:
        done = await process.run([found.path, "check"], environment, seconds=_PROBE_SECONDS)
    except (OSError, DeadlineExceeded) as error:
        return evolve(found, reason=f"`criu check` can't be run: {error}")
    if done.code != 0:
        return evolve(found, reason=f"`criu check` says: {_words(done)}", hint="see `criu check` as root")
    features: list[str] = []
    missing: list[str] = []
    for name in _FEATURES:
        command = [found.path, "check", "--feature", name]
        ok = (await process.run(command, environment, seconds=_PROBE_SECONDS)).code == 0
        (features if ok else missing).append(name)
    return evolve(found, usable=True, features=tuple(features), missing=tuple(missing))


def _words(done: process.Completed) -> str:
    text = (done.stderr or done.stdout).decode(errors="replace")
    errors = [line for line in text.splitlines() if "Error" in line] or text.splitlines()
    return " ".join(" ".join(errors[-3:]).split())[-400:] or f"exit code {done.code}"


def remove_stale_cache() -> None:
    """Remove the empty file that a crashed CRIU left in place of its notes on the kernel: with it there every
    call looks at the kernel anew, which takes 100 to 200 ms.
    """
    with suppress(OSError):
        found = os.stat(_KERNEL_CACHE)
        if found.st_size == 0 and found.st_mtime < time.time() - _EMPTY_CACHE_AGE:
            os.unlink(_KERNEL_CACHE)


def with_criu(environment: Mapping[str, str], info: CriuInfo) -> dict[str, str]:
    """Return the environment in which runtimes find this program: both runc and libcriu look in PATH."""
    return {**environment, "PATH": f"{os.path.dirname(info.path)}:{environment.get('PATH', '')}"}


def dump_arguments(options: DumpOptions) -> list[str]:
    """Return the options of `checkpoint` beside its directories."""
    return (["--leave-running"] if options.leave_running else []) + common_arguments(options)


def common_arguments(options: DumpOptions) -> list[str]:
    """Return the options that a dump and its restore share."""
    flags = {
        "--tcp-established": options.tcp_established,
        "--ext-unix-sk": options.external_unix_sockets,
        "--shell-job": options.shell_job,
        "--file-locks": options.file_locks,
    }
    found = [name for name, wanted in flags.items() if wanted]
    if options.cgroups_mode:
        found.append(f"--manage-cgroups-mode={options.cgroups_mode}")
    return found + [f"--empty-ns={name}" for name in options.empty_namespaces]


def log_of(directory: str, name: str) -> tuple[str, str]:
    """Return the errors at the end of a log, and the remedy; "" when there is none."""
    try:
        with open(f"{directory}/{name}", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG))
            return explain(file.read(_LOG).decode(errors="replace"))
    except OSError:
        return "", ""


def need_lazy(info: CriuInfo, runtime: str, flavour: str) -> None:
    """Unimplemented unless processes can be restored before their memory is there."""
    need(info)
    if LAZY not in info.features:
        raise Unimplemented(
            "lazy restore", why=f"`criu check --feature {LAZY}` fails: the kernel lacks userfaultfd",
            hint="a kernel with CONFIG_USERFAULTFD; until then restore without it", field="lazy",
        )  # fmt: skip
    if flavour != "runc":
        raise Unimplemented(
            f"lazy restore with runtime {runtime!r}", why="of the OCI runtimes only runc can",
            hint="give the container the runtime: `--runtime runc`", field="lazy",
        )  # fmt: skip


def need_tracking(info: CriuInfo, runtime: str, flavour: str) -> None:
    """Unimplemented unless memory can be dumped in rounds, each of what was written to since the last."""
    need(info)
    if DIRTY not in info.features:
        raise Unimplemented(
            "rounds of memory", why="this kernel doesn't track dirty memory",
            hint="a kernel with CONFIG_MEM_SOFT_DIRTY", field="rounds",
        )  # fmt: skip
    if flavour != "runc":
        raise Unimplemented(
            "rounds of memory", why=f"the runtime {runtime!r} isn't runc",
            hint="give the container the runtime: `--runtime runc`", field="rounds",
        )  # fmt: skip


def need(info: CriuInfo) -> None:
    """Raise Unimplemented, with the reason and the remedy, if this CRIU is of no use here."""
    if not info.usable:
        raise Unimplemented("checkpoint and restore need CRIU", why=info.reason, hint=info.hint)
