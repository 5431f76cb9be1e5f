"""Directory descriptors below one root, found by name and kept while they are in use.

Resolution is openat2 with RESOLVE_IN_ROOT: symlinks count as they would in the container, and nothing
leads out. Imported by the layer extractor: standard library, `errors` and `limits` only.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from tricorn import limits
from tricorn.fs import syscalls
from tricorn.fs.tarheader import Refusal

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_IN_ROOT: Final = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_SYMLINK_HOPS: Final = 40  # the kernel's own bound
_DEFAULT_ACL: Final = "system.posix_acl_default"


class Directory:
    """An open directory. In a `plain` one, new files get exactly the owner and mode they are made with."""

    __slots__ = ("fd", "plain")

    def __init__(self, fd: int, *, plain: bool) -> None:
        self.fd = fd
        self.plain = plain


def is_plain(fd: int, mode: int | None = None) -> bool:
    """Tell whether neither a set-group-ID bit nor a default ACL of `fd` touches what is made in it."""
    if (os.fstat(fd).st_mode if mode is None else mode) & stat.S_ISGID:
        return False
    try:
        os.getxattr(fd, _DEFAULT_ACL)
    except OSError:
        return True
    return False


class DirectoryTree:
    """Hands out `Directory` objects by cleaned relative path (`b""` is the root itself).

    At most `capacity` stay open. `forget` must be called after a directory or symlink was removed or
    replaced. `implied` collects the directories that had to be made without an entry of their own.
    """

    def __init__(self, root: int, *, capacity: int = 256) -> None:
        self.root = Directory(root, plain=is_plain(root))
        self._capacity = capacity
        self._open: dict[bytes, Directory] = {b"": self.root}
        self._kept: Directory | None = None
        self.implied: dict[bytes, None] = {}

    def close(self) -> None:
        """Close every descriptor but the root's, which is the caller's."""
        self.forget()

    def forget(self, keep: Directory | None = None) -> None:
        """Drop all that is known but the root: some name may mean another directory now.

        `keep` stays open, without a name, until the next call.
        """
        stale = set(self._open.values())
        if self._kept is not None:
            stale.add(self._kept)
        self._kept = keep if keep is not self.root else None
        for directory in stale:
            if directory is not self.root and directory is not keep:
                os.close(directory.fd)
        self._open = {b"": self.root}

    def existing(self, path: bytes) -> Directory:
        """Return the directory `path`. Raises OSError when it isn't there or no directory."""
        directory = self._open.get(path)
        if directory is None:
            fd = syscalls.openat2(self.root.fd, path, _OPEN, 0, _IN_ROOT)
            directory = self.add(path, Directory(fd, plain=is_plain(fd)))
        return directory

    def ensure(self, path: bytes) -> Directory:
        """Return the directory `path`, making it and its parents (0755, ours) where they are missing."""
        directory = self._open.get(path)
        if directory is not None:
            return directory
        try:
            return self.existing(path)
        except FileNotFoundError:
            parent_path, _, name = path.rpartition(b"/")
            try:
                return self._imply(self.existing(parent_path), path, name)
            except (FileNotFoundError, FileExistsError):  # more is missing, or a symlink dangles
                return self.existing(self._make(path))

    def add(self, path: bytes, directory: Directory) -> Directory:
        """Keep an open directory under its name, closing the oldest ones beyond the capacity."""
        if len(self._open) >= self._capacity:
            self._evict()
        previous = self._open.get(path)
        if previous is not None:
            os.close(previous.fd)
        self._open[path] = directory
        return directory

    def _evict(self) -> None:
        # Archives go depth first: the older half is hardly ever asked for again.
        for path in list(self._open)[: self._capacity // 2]:
            if path:
                os.close(self._open.pop(path).fd)

    def _make(self, path: bytes) -> bytes:
        """Make what is missing of `path`, following symlinks as in a chroot; return where it led to."""
        pending = path.split(b"/")[::-1]
        real: list[bytes] = []
        hops = 0
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                del real[-1:]
                continue
            target = self._link_or_make(b"/".join(real), name)
            if target is None:
                real.append(name)
                continue
            hops += 1
            if hops > _SYMLINK_HOPS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith(b"/"):
                real.clear()
            pending.extend(target.split(b"/")[::-1])
        return b"/".join(real)

    def _imply(self, parent: Directory, path: bytes, name: bytes) -> Directory:
        """Make a directory that has no entry (yet)."""
        os.mkdir(name, 0o755, dir_fd=parent.fd)
        fd = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=parent.fd)
        if not parent.plain:
            os.fchown(fd, os.geteuid(), os.getegid())
            os.fchmod(fd, 0o755)
        self.implied[path] = None
        return self.add(path, Directory(fd, plain=parent.plain or is_plain(fd)))

    def _link_or_make(self, parent: bytes, name: bytes) -> bytes | None:
        """Return what the symlink `name` points to; None for a directory, made if it was missing."""
        directory = self.existing(parent)
        try:
            return os.readlink(name, dir_fd=directory.fd)
        except FileNotFoundError:
            self._imply(directory, parent + b"/" + name if parent else name, name)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        return None


def clean_name(name: bytes) -> bytes:
    """Return a member's name as a relative path without `.` and empty parts; b"" is the root.

    A leading slash is dropped, since builders in wide use write one. Raises Refusal for `..`.
    """
    if len(name) > limits.TAR_PATH_LENGTH:
        raise Refusal(f"its name has {len(name)} bytes, at most {limits.TAR_PATH_LENGTH}")
    if name.startswith(b"./"):
        name = name[2:]
    if name.endswith(b"/"):
        name = name.rstrip(b"/")
    if b"/." not in name and b"//" not in name and name[:1] not in (b"/", b"."):
        return name
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise Refusal("its name holds `..`")
    return b"/".join(parts)
