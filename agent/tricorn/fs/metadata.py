"""Copies owners, modes, times and extended attributes between files, by descriptor."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from tricorn.fs.beneath import open_beneath

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
# Belong to the mount a directory is part of, not to the directory.
_OVERLAY: Final = ("trusted.overlay.", "user.overlay.")


def copy_xattrs(source: int | str, target: int | str) -> None:
    """Copy all extended attributes but overlay's own (by path: of the link itself). Raises OSError."""
    follow = isinstance(source, int)
    try:
        names = os.listxattr(source, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    for name in names:
        if name.startswith(_OVERLAY):
            continue
        try:
            os.setxattr(
                target, name, os.getxattr(source, name, follow_symlinks=follow), follow_symlinks=follow
            )
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENODATA):
                raise


def copy(source: int, target: int, status: os.stat_result | None = None) -> None:
    """Give the file behind `target` the metadata of `source`'s. Raises OSError."""
    status = status or os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    copy_xattrs(source, target)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def copy_path(source: str, target: str) -> None:
    """`copy` between two directories that the agent itself made. Raises OSError."""
    with ExitStack() as stack:
        from_fd = os.open(source, _DIRECTORY)
        stack.callback(os.close, from_fd)
        to_fd = os.open(target, _DIRECTORY)
        stack.callback(os.close, to_fd)
        copy(from_fd, to_fd)


def adopt(target: str, lowers: Sequence[str], names: Sequence[str]) -> None:
    """Give each directory of `names` below `target` the metadata of the first of `lowers` that has it.

    The trees hold untrusted content: names resolve beneath their roots or are passed over.
    """
    with ExitStack() as stack:
        roots = []
        for path in (target, *lowers):
            roots.append(os.open(path, _DIRECTORY))
            stack.callback(os.close, roots[-1])
        for name in names:
            _adopt_one(roots[0], roots[1:], name)


def _adopt_one(target: int, lowers: Sequence[int], name: str) -> None:
    own = _directory(target, name)
    if own is None:
        return
    try:
        for lower in lowers:
            source = _directory(lower, name)
            if source is None:
                if _hides(lower, name):
                    return
                continue
            try:
                copy(source, own)
            finally:
                os.close(source)
            return
    finally:
        os.close(own)


def _directory(root: int, name: str) -> int | None:
    try:
        return open_beneath(root, name, _DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG):
            return None
        raise


def _hides(root: int, name: str) -> bool:
    """Tell whether a layer has something else than a directory there: what is below it doesn't count."""
    try:
        os.close(open_beneath(root, name, os.O_PATH | os.O_NOFOLLOW))
    except OSError:
        return False
    return True
