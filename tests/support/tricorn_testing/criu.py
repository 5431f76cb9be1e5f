"""A CRIU that works on this kernel, put beside the system as the role `agent` does it, once for all tests."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn_testing.ctr import CACHE
from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.netns import named_netns
from tricorn_testing.paths import short_directory

_ROOT = Path(__file__).parents[3]
SCRIPT = _ROOT / "collections/ansible_containerd/roles/agent/files/criu_beside.sh"
PREFIX = CACHE.parent / "criu"


@functools.cache
def criu_program() -> str:
    """Return the path of the program, unpacked from Debian's packages the first time.

    Raises OSError or subprocess.CalledProcessError (the script's own words are in `stderr`).
    """
    PREFIX.parent.mkdir(parents=True, exist_ok=True)
    with open(PREFIX.parent / "criu.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([SCRIPT, PREFIX], check=True, capture_output=True, text=True)
    return str(PREFIX / "bin/criu")


@functools.cache
def missing_criu() -> str:
    """Return why containers can't be dumped here, "" if they can: CRIU itself has looked at the kernel."""
    if shutil.which("runc") is None:
        return "no runc, which is what dumps containers here: apt-get install runc"
    try:
        done = subprocess.run([criu_program(), "check"], capture_output=True, text=True, check=False)
    except subprocess.CalledProcessError as error:
        return f"no CRIU: {error.stderr.strip()[-500:]}"
    except OSError as error:
        return f"no CRIU: {error}"
    return f"CRIU can't be used on this kernel: {done.stderr.strip()[-500:]}" if done.returncode else ""


def need_criu() -> None:
    """Skip the test, with the reason, where containers can't be dumped; in CI that is a failure."""
    if reason := missing_criu():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def criu_config(directory: Path, program: str = "") -> str:
    """Return a configuration for an agent whose containers can be dumped, by `program` instead of CRIU itself."""
    return (
        f'[registry]\nhosts_dir = "{directory}/etc/hosts.d"\n'
        f'[runtimes]\ndefault = "runc"\ncriu = "{program or criu_program()}"\n'
    )


class SecludedDaemon(Daemon):
    """An agent in a mount namespace of its own, in which /run/containerd is its own: there `ctr` makes its FIFOs
    when it restores, and knows no other place.
    """

    @property
    def command(self) -> list[str]:
        own = 'mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd && exec "$@"'
        return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", own, "sh", *super().command]

    def program(self, path: Path) -> Path:
        """Return what runs the program at `path` in the agent's namespace."""
        wrapper = self.directory / f"inside-{path.parents[2].parent.name}-{path.name}"
        wrapper.write_text(f'#!/bin/sh\nexec nsenter --mount --target {self.pid} {path} "$@"\n')
        wrapper.chmod(0o755)
        return wrapper


@contextlib.contextmanager
def two_names(agent: Daemon, test: str) -> Iterator[tuple[str, str]]:
    """Yield the names of two containers of a test (its function's name), which are removed at the end."""
    base = re.sub("[^a-z0-9]+", "-", test.removeprefix("test_").lower())[-40:].strip("-")
    yield base, f"{base}-2"
    for name in (base, f"{base}-2"):
        try:
            agent.delete(f"/v1/default/containers/{name}", force=True)
        except ApiError as error:
            assert error.status == 404  # noqa: PT017 - in a fixture's end


@contextlib.contextmanager
def checkpointing_daemon(program: str = "") -> Iterator[SecludedDaemon]:
    """Run an agent that can dump containers for the length of the context, or skip where that can't be; by
    `program` instead of CRIU itself.
    """
    need_criu()
    with named_netns():  # from a machine's first on, later ones are seen in mount namespaces made before, too
        pass
    with short_directory() as directory:
        daemon = SecludedDaemon(directory, config=criu_config(directory, program))
        try:
            daemon.start()
            yield daemon
        except BaseException:
            print(daemon.log[-8000:])
            raise
        finally:
            daemon.clean_up()
