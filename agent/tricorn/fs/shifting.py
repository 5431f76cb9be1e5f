"""Gives the files of a tree to the ids that a user namespace has for their owners, on the disk itself.

For hosts whose mounts can't show other owners. Works by descriptor on untrusted trees, in which nobody else
writes meanwhile; what has such an owner already stays, so that it may be done again. All calls block.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from contextlib import suppress
from typing import Final

from tricorn.fs import trees
from tricorn.fs.idmapped import Owners

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CAPABILITY: Final = "security.capability"  # taken away by the kernel with every change of owner
_ACLS: Final = ("system.posix_acl_access", "system.posix_acl_default")
_ENTRY: Final = struct.Struct("<HHI")  # linux/posix_acl_xattr.h, after a version of four bytes
_USER, _GROUP = 0x02, 0x08


def shift_tree(directory: str, owners: Owners) -> None:
    """Shift everything in `directory`, and itself. Modes, capabilities and ACLs mean the same. OSError."""
    parent = os.open(os.path.dirname(directory), _DIRECTORY)
    shifter = _Shifter(owners)
    try:
        trees.walk(parent, os.path.basename(directory), shifter.visit, lambda _: None)
        shifter.shift(parent, os.path.basename(directory))
    finally:
        os.close(parent)


class _Shifter:
    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._uids: dict[int, int] = {}
        self._gids: dict[int, int] = {}

    def visit(self, fd: int, _: str, entries: list[os.DirEntry[str]]) -> None:
        for entry in entries:
            self.shift(fd, entry.name)

    def shift(self, fd: int, name: str) -> None:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        uid, gid = self._uid(status.st_uid), self._gid(status.st_gid)
        path = f"/proc/self/fd/{fd}/{name}"
        link = stat.S_ISLNK(status.st_mode)
        if (uid, gid) != (status.st_uid, status.st_gid):
            capability = _attribute(path, _CAPABILITY) if stat.S_ISREG(status.st_mode) else None
            os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
            if status.st_mode & (stat.S_ISUID | stat.S_ISGID) and not link:
                os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=fd)
            if capability is not None:
                os.setxattr(path, _CAPABILITY, capability, follow_symlinks=False)
        if not link:
            for key in _ACLS:
                self._shift_acl(path, key)

    def _shift_acl(self, path: str, key: str) -> None:
        value = _attribute(path, key)
        if value is None:
            return
        shifted = value[:4]
        for tag, permissions, number in _ENTRY.iter_unpack(value[4:]):
            new = {_USER: self._uid, _GROUP: self._gid}.get(tag, int)(number)
            shifted += _ENTRY.pack(tag, permissions, new)
        if shifted != value:
            os.setxattr(path, key, shifted, follow_symlinks=False)

    def _uid(self, number: int) -> int:
        if number not in self._uids:
            self._uids[number] = self._owners.uid(number)
        return self._uids[number]

    def _gid(self, number: int) -> int:
        if number not in self._gids:
            self._gids[number] = self._owners.gid(number)
        return self._gids[number]


def _attribute(path: str, key: str) -> bytes | None:
    with suppress(FileNotFoundError):
        try:
            return os.getxattr(path, key, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP):
                raise
    return None
