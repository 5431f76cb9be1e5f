"""Puts the members of an archive in place below a directory that others use meanwhile.

Only what differs is written: a file that is the same byte for byte keeps its inode, another one is replaced
by a rename, so that no reader sees a part of it. Runs in a child whose root is the tree; imports no
third-party module.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound, TricornError
from tricorn.fs.diff_entries import open_regular
from tricorn.fs.directories import Directory, DirectoryTree, clean_name
from tricorn.fs.entrychecks import check_ranges, entry_error
from tricorn.fs.path_facts import described, digest_of, kind_of, text_of
from tricorn.fs.tarheader import (
    CONTIGUOUS,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Entry,
    Refusal,
    malformed,
    show,
)
from tricorn.fs.tarstream import TarStream

_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TOLD: Final = 100  # paths that are described in the answer
_LISTED: Final = 1000  # paths that are named in it
_READ: Final = 256 * limits.KIB


class Placer:
    """`options` are those of `model.copies.Placing`, `base` the directory, as `clean_name` has it."""

    def __init__(self, root: int, base: bytes, options: Mapping[str, Any]) -> None:
        self._tree = DirectoryTree(root)
        self._base = base
        self._options = options
        self._plan = bool(options["plan"])
        self._temporary = 0
        self.changed: list[tuple[str, str]] = []
        self.count = 0
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self._kinds = {
            REGULAR: self._regular, CONTIGUOUS: self._regular, DIRECTORY: self._directory,
            SYMLINK: self._symlink, HARDLINK: self._hardlink, FIFO: self._fifo,
        }  # fmt: skip

    def run(self, stream: TarStream) -> None:
        """Put every member in place. NotFound without the base; InvalidArgument names a member that can't be
        had; FailedPrecondition where a directory is in a file's place, or the other way round.
        """
        try:
            self._check_base()
            while (entry := stream.next()) is not None:
                self._apply(stream, entry)
        finally:
            self._tree.close()

    def _check_base(self) -> None:
        try:
            self._tree.existing(self._base)
        except FileNotFoundError:
            if not self._options["parents"]:
                raise NotFound(
                    f"there is no directory /{show(self._base)}", hint="ask for missing parents to be made"
                ) from None
        except NotADirectoryError:
            raise FailedPrecondition(f"/{show(self._base)} is no directory") from None

    def _apply(self, stream: TarStream, entry: Entry) -> None:
        try:
            below = clean_name(entry.name)
            check_ranges(entry)
            self._set_owner(entry)
            place = self._kinds.get(entry.type)
            if place is None or entry.pax is not None or entry.segments is not None:
                raise Refusal("devices and sparse files are not copied")  # noqa: TRY301 - named below
            path = b"/".join(filter(None, (self._base, below)))
            if not path:
                return  # the root itself
            parent_path, _, name = path.rpartition(b"/")
            place(stream, entry, self._parent(parent_path), name, path)
        except TricornError:
            raise
        except OSError as error:
            raise entry_error(entry, error) from error
        except (ValueError, Refusal) as error:
            raise malformed(str(error), entry.name) from error

    def _set_owner(self, entry: Entry) -> None:
        options = self._options
        entry.uid = entry.uid if options["uid"] is None else options["uid"]
        entry.gid = entry.gid if options["gid"] is None else options["gid"]
        mode = options["directory_mode" if entry.type == DIRECTORY else "mode"]
        entry.mode = (entry.mode if mode is None else mode) & 0o7777

    def _parent(self, path: bytes) -> Directory | None:
        """Return the directory; None if a plan finds that it would have to be made."""
        if not self._plan:
            return self._tree.ensure(path)
        try:
            return self._tree.existing(path)
        except FileNotFoundError:
            return None

    # ------------------------------------------------------------ kinds of members
    def _regular(
        self, stream: TarStream, entry: Entry, parent: Directory | None, name: bytes, path: bytes
    ) -> None:
        status = _status(parent, name, path, directory=False)
        before = self._existing(parent, name, status, entry.size)
        temporary = b"" if self._plan or parent is None else self._temporary_name()
        try:
            after = self._receive(stream, entry, parent, temporary)
            same = before.get("sha256") == after["sha256"]
            if same and status is not None and _same_metadata(status, entry):
                self._tell(path, "", before, after)
                return
            if temporary and parent is not None:
                if same:
                    self._describe(parent, name, entry)
                else:
                    self._replace(parent, temporary, name)
                    temporary = b""
            self._tell(path, _verb(status, same=same), before, after)
        finally:
            if temporary and parent is not None:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=parent.fd)

    def _existing(
        self, parent: Directory | None, name: bytes, status: os.stat_result | None, size: int
    ) -> dict[str, Any]:
        if status is None or parent is None:
            return {}
        facts = described(status)
        if not stat.S_ISREG(status.st_mode):
            return facts
        fd = open_regular(parent.fd, os.fsdecode(name))
        if fd is None:
            return {}
        try:
            if status.st_size == size or status.st_size <= limits.COPY_DIGEST:
                facts["sha256"] = digest_of(fd)
            if self._options["show"] and (text := text_of(fd)) is not None:
                facts["content"] = text
        finally:
            os.close(fd)
        return facts

    def _receive(
        self, stream: TarStream, entry: Entry, parent: Directory | None, temporary: bytes
    ) -> dict[str, Any]:
        """Take a member's payload, into a temporary file unless it is only planned; return its facts."""
        digest, kept, left = hashlib.sha256(), b"", entry.size
        fd = os.open(temporary, _CREATE, 0o600, dir_fd=parent.fd) if temporary and parent else -1
        try:
            while left:
                data = stream.read(min(left, _READ))
                left -= len(data)
                digest.update(data)
                kept = data if entry.size <= limits.COPY_SHOWN else b""
                if fd >= 0:
                    _write(fd, data)
            if fd >= 0:
                os.fchown(fd, entry.uid, entry.gid)
                os.fchmod(fd, entry.mode)
                os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            if fd >= 0:
                os.close(fd)
        facts = _facts(entry, "file") | {"size": entry.size, "sha256": digest.hexdigest()}
        if self._options["show"] and entry.size <= limits.COPY_SHOWN:
            with suppress(UnicodeDecodeError):
                facts["content"] = kept.decode()
        return facts

    def _replace(self, parent: Directory, temporary: bytes, name: bytes) -> None:
        try:
            os.rename(temporary, name, src_dir_fd=parent.fd, dst_dir_fd=parent.fd)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _overwrite(parent.fd, temporary, name)  # something is mounted there: a file of the node's
            os.unlink(temporary, dir_fd=parent.fd)

    def _describe(self, parent: Directory, name: bytes, entry: Entry) -> None:
        fd = open_regular(parent.fd, os.fsdecode(name))
        if fd is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
        finally:
            os.close(fd)

    def _directory(
        self, _: TarStream, entry: Entry, parent: Directory | None, name: bytes, path: bytes
    ) -> None:
        status = _status(parent, name, path, directory=True)
        verb = "" if status is not None and _same_metadata(status, entry) else _verb(status, same=True)
        if verb and not self._plan and parent is not None:
            if status is None:
                os.mkdir(name, 0o700, dir_fd=parent.fd)
            fd = os.open(name, _OPEN_DIRECTORY, dir_fd=parent.fd)
            try:
                os.fchown(fd, entry.uid, entry.gid)
                os.fchmod(fd, entry.mode)
            finally:
                os.close(fd)
        self._tell(path, verb, described(status) if status else {}, _facts(entry, "directory"))

    def _symlink(
        self, _: TarStream, entry: Entry, parent: Directory | None, name: bytes, path: bytes
    ) -> None:
        status = _status(parent, name, path, directory=False)
        before = described(status) if status else {}
        after = {"type": "symlink", "link": show(entry.link)}
        if parent is not None and status is not None and stat.S_ISLNK(status.st_mode):
            link = os.readlink(name, dir_fd=parent.fd)
            before = {"type": "symlink", "link": show(link)}
            if link == entry.link:
                self._tell(path, "", before, after)
                return
        if not self._plan and parent is not None:
            temporary = self._temporary_name()
            os.symlink(entry.link, temporary, dir_fd=parent.fd)
            os.chown(temporary, entry.uid, entry.gid, dir_fd=parent.fd, follow_symlinks=False)
            os.rename(temporary, name, src_dir_fd=parent.fd, dst_dir_fd=parent.fd)
            self._tree.forget(keep=parent)  # what was found through the old link may be elsewhere now
        self._tell(path, _verb(status, same=False), before, after)

    def _hardlink(
        self, _: TarStream, entry: Entry, parent: Directory | None, name: bytes, path: bytes
    ) -> None:
        target = b"/".join(filter(None, (self._base, clean_name(entry.link))))
        directory, _slash, target_name = target.rpartition(b"/")
        status = _status(parent, name, path, directory=False)
        source = self._parent(directory)
        aim = _status(source, target_name, target, directory=False)
        before = described(status) if status else {}
        if (
            aim is not None
            and status is not None
            and (aim.st_dev, aim.st_ino) == (status.st_dev, status.st_ino)
        ):
            self._tell(path, "", before, before)
            return
        if not self._plan and parent is not None and source is not None:
            temporary = self._temporary_name()
            parent, source = self._tree.ensure(path.rpartition(b"/")[0]), self._tree.existing(directory)
            os.link(target_name, temporary, src_dir_fd=source.fd, dst_dir_fd=parent.fd, follow_symlinks=False)
            os.rename(temporary, name, src_dir_fd=parent.fd, dst_dir_fd=parent.fd)
        self._tell(path, _verb(status, same=False), before, {"type": "file", "link": "/" + show(target)})

    def _fifo(self, _: TarStream, entry: Entry, parent: Directory | None, name: bytes, path: bytes) -> None:
        status = _status(parent, name, path, directory=False)
        before = described(status) if status else {}
        if status is not None and stat.S_ISFIFO(status.st_mode) and _same_metadata(status, entry):
            self._tell(path, "", before, before)
            return
        if not self._plan and parent is not None:
            temporary = self._temporary_name()
            os.mkfifo(temporary, entry.mode, dir_fd=parent.fd)
            os.chown(temporary, entry.uid, entry.gid, dir_fd=parent.fd, follow_symlinks=False)
            os.rename(temporary, name, src_dir_fd=parent.fd, dst_dir_fd=parent.fd)
        self._tell(path, _verb(status, same=False), before, _facts(entry, "fifo"))

    # ------------------------------------------------------------ shared steps
    def _temporary_name(self) -> bytes:
        self._temporary += 1
        return b".tricorn-%d-%s" % (self._temporary, os.urandom(6).hex().encode())

    def _tell(self, path: bytes, verb: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        name = "/" + show(path)
        if verb:
            self.count += 1
            if len(self.changed) < _LISTED:
                self.changed.append((verb, name))
        if (verb or not self.after) and len(self.after) < _TOLD:
            self.after[name] = after
            if before:
                self.before[name] = before


def _facts(entry: Entry, kind: str) -> dict[str, Any]:
    return {"type": kind, "mode": f"{entry.mode:04o}", "uid": entry.uid, "gid": entry.gid}


def _verb(status: os.stat_result | None, *, same: bool) -> str:
    if status is None:
        return "create"
    return "update" if same else "replace"


def _status(parent: Directory | None, name: bytes, path: bytes, *, directory: bool) -> os.stat_result | None:
    """Return what has the name, None for nothing; FailedPrecondition where a file is to take the place of a
    directory or the other way round.
    """
    if parent is None:
        return None
    try:
        status = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode) != directory:
        raise FailedPrecondition(
            f"/{show(path)} can't be replaced",
            why=f"it is a {kind_of(status.st_mode)}",
            hint="remove it first",
        )
    return status


def _same_metadata(status: os.stat_result, entry: Entry) -> bool:
    wanted = (entry.mode, entry.uid, entry.gid)
    regular = entry.type not in (REGULAR, CONTIGUOUS) or stat.S_ISREG(status.st_mode)
    return regular and (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == wanted


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _overwrite(directory: int, source: bytes, target: bytes) -> None:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    reading = os.open(source, os.O_RDONLY | flags, dir_fd=directory)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_TRUNC | flags, dir_fd=directory)
        try:
            while data := os.read(reading, _READ):
                _write(writing, data)
            status = os.fstat(reading)
            os.fchown(writing, status.st_uid, status.st_gid)
            os.fchmod(writing, stat.S_IMODE(status.st_mode))
        finally:
            os.close(writing)
    finally:
        os.close(reading)
