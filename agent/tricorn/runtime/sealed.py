"""Starts runtimes from sealed copies of theirs in memory.

A runtime must not be changed by the container that it makes (CVE-2019-5736), so crun mounts itself read-only
and starts itself anew from there, each time. A sealed memory file can't be changed by anyone: started from
one, crun goes on at once, which saves a third of its time. The copy is made anew when the file changes, as
an upgrade does. Where the security policy goes by the file that a program is started from (SELinux), nothing
is copied.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from typing import Final

import structlog
from attrs import frozen

from tricorn import limits
from tricorn.errors import DeadlineExceeded
from tricorn.runtime import process

log = structlog.get_logger(__name__)
_MFD_EXEC: Final = 0x10  # Linux 6.3: where memory files aren't executable otherwise
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_LARGEST: Final = 16 * limits.MIB
_PROOF_SECONDS: Final = 10.0
_SELINUX: Final = "/sys/fs/selinux/enforce"


@frozen
class _Copy:
    descriptor: int
    original: tuple[int, ...]  # what tells whether the file is still the same

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"


class SealedPrograms:
    """Paths of copies, by the paths of their originals. They are there until `close`."""

    def __init__(self) -> None:
        self._copies: dict[str, _Copy] = {}
        self._outdated: list[_Copy] = []  # whoever was told its path may be about to start it

    async def admit(self, program: str, environment: Mapping[str, str]) -> None:
        """Have `program` started from a copy from now on, if this host starts programs from memory."""
        if program in self._copies or _by_file():
            return
        try:
            copy = self._copies[program] = _copy(program)
            done = await process.run([copy.path, "--version"], environment, seconds=_PROOF_SECONDS)
            works, why = done.code == 0, done.stderr.decode(errors="replace")[:200]
        except (OSError, DeadlineExceeded) as error:
            works, why = False, str(error)
        if not works:
            log.info("containers start a little later", why=f"{program} can't be run from memory: {why}")
            self._outdated += [self._copies.pop(program)] if program in self._copies else []

    def path(self, program: str) -> str:
        """Return the path to start `program` by: of its copy, or its own."""
        copy = self._copies.get(program)
        if copy is None:
            return program
        try:
            if _fingerprint(os.stat(program)) != copy.original:
                copy = self._replace(program, _copy(program))
        except OSError:  # gone, or just being replaced: whoever starts it will tell
            return program
        return copy.path

    def close(self) -> None:
        """Give the copies up."""
        for copy in (*self._copies.values(), *self._outdated):
            os.close(copy.descriptor)
        self._copies.clear()
        self._outdated.clear()

    def _replace(self, program: str, copy: _Copy) -> _Copy:
        for outdated in self._outdated:
            os.close(outdated.descriptor)
        self._outdated = [self._copies[program]]
        self._copies[program] = copy
        return copy


def _copy(program: str) -> _Copy:
    with open(program, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size > _LARGEST:
            raise OSError(f"it has more than {_LARGEST} bytes")
        content = file.read()
    if not content.startswith(b"\x7fELF"):
        raise OSError("it is a script")
    descriptor = _memory_file(os.path.basename(program))
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.fchmod(descriptor, 0o500)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return _Copy(descriptor, _fingerprint(status))


def _by_file() -> bool:
    """Whether this host's security policy goes by the file of a program."""
    return os.path.exists(_SELINUX)


def _memory_file(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _MFD_EXEC)
    except OSError:  # a kernel that doesn't know the flag
        return os.memfd_create(name, flags)


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
