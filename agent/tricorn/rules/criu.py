"""What CRIU's versions can do on a kernel, and what its log tells of a failure. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from tricorn.rules.runtimes import parse_version

_OLDEST: Final = (3, 11)  # what containerd asks for, too
# From 6.13 on the kernel's vdso has a second data page, which older versions can't move.
_NEW_VDSO: Final = (6, 13)
_KNOWS_NEW_VDSO: Final = (4, 1)
_SAME_FILES: Final = "restore the rw layer, too, on the same image: a file isn't as it was"
_ERROR: Final = re.compile(r"^\(\d+\.\d+\)\s+(?:\d+:\s+)?Error \((?P<place>[^)]*)\): (?P<text>.*)$")
# They end up in every log of a machine without CAP_SYS_RESOURCE, or follow from the error before.
_NOISE: Final = ("Can't setup RLIMIT_NOFILE for self", "recv req error", "Can't write", "close fd -1")
INSTALL: Final = (
    "the role `agent` installs a newer one with `agent_criu: true`; elsewhere "
    "`criu_beside.sh PREFIX` does, and `runtimes.criu` names it"
)


@frozen
class Remedy:
    """A part of CRIU's words, and what to do about it."""

    words: str
    advice: str


_REMEDIES: Final[Sequence[Remedy]] = (
    Remedy("tcp-established", "allow established connections: --tcp-established"),
    Remedy("Connected TCP socket", "allow established connections: --tcp-established"),
    Remedy("in-flight", "wait until no connection is just being made, then try again"),
    Remedy("file-locks", "allow locks on files: --file-locks"),
    Remedy("Some file locks are hold by dumping tasks", "allow locks on files: --file-locks"),
    Remedy("ext-unix-sk", "allow unix sockets to outside of the container: --ext-unix"),
    Remedy("External socket is used", "allow unix sockets to outside of the container: --ext-unix"),
    Remedy("Found dangling tty", "allow a terminal from outside of the container: --shell-job"),
    Remedy("shell-job", "allow a terminal from outside of the container: --shell-job"),
    Remedy(
        "Can't get rlimit", "CRIU needs CAP_SYS_RESOURCE for processes of other users: give it to the agent"
    ),
    Remedy("Can't lookup mount", "a file is open that lies outside of the container: close it, or mount it"),
    Remedy("Can't connect inet socket back", "restore in a network namespace that has the same address"),
    Remedy("Can't bind inet socket back", "restore in a network namespace that has the same address"),
    Remedy("No mapping for", "restore with a container that has the same mounts as the one that was dumped"),
    Remedy("mountpoint", "restore with a container that has the same mounts as the one that was dumped"),
    Remedy("cpuinfo", "restore on a machine whose processor can do all that the first one's can"),
    Remedy("CPU", "restore on a machine whose processor can do all that the first one's can"),
    Remedy("File exists", "a process id is taken: restore with a pid namespace of its own"),
    Remedy("has bad size", _SAME_FILES),
    Remedy("has bad mode", _SAME_FILES),
    Remedy("Can't open file", _SAME_FILES),
    Remedy("No space left", "free space on the file system of the root directory"),
    Remedy("vdso", INSTALL),
    Remedy("MemTrack", "this kernel doesn't track dirty memory (CONFIG_MEM_SOFT_DIRTY)"),
)


def defect_of(version: str, kernel: str) -> str:
    """Return why this version of CRIU is of no use on this kernel, "" if it is."""
    number = parse_version(version)
    if number and number < _OLDEST:
        return f"criu {version} is too old"
    if number and number < _KNOWS_NEW_VDSO and parse_version(kernel) >= _NEW_VDSO:
        return f"criu {version} can't restore processes of kernel {kernel} (the layout of its vdso is newer)"
    return ""


def explain(log: str, *, lines: int = 4) -> tuple[str, str]:
    """Return the errors of a CRIU log in its own words, and the remedy if there is a known one."""
    found = [match for match in map(_ERROR.match, log.splitlines()) if match]
    told = [f"{match['text'].strip()} ({match['place']})" for match in found if not _is_noise(match["text"])]
    told = list(dict.fromkeys(told))
    advice = next((item.advice for text in told for item in _REMEDIES if item.words in text), "")
    if len(told) > lines:  # the first are the reasons, the last what came of them
        told = [*told[: lines - 1], "…", told[-1]]
    return "; ".join(told)[:1500], advice


def _is_noise(text: str) -> bool:
    return any(words in text for words in _NOISE)
