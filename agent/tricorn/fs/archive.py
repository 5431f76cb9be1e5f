"""Applies the members of a tar archive to a directory: owners, modes, xattrs, times and whiteouts.

Everything happens relative to descriptors of directories inside the root; see `directories`. The caller
is the only writer of the tree. Imported by the layer extractor: no third-party module.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, Literal

from tricorn import limits
from tricorn.fs import sparse, whiteouts
from tricorn.fs.directories import Directory, DirectoryTree, clean_name, is_plain
from tricorn.fs.entrychecks import check_ranges, entry_error
from tricorn.fs.filling import Filling
from tricorn.fs.tally import Tally
from tricorn.fs.tarheader import (
    BLOCK_DEVICE,
    CHARACTER,
    CONTIGUOUS,
    DIRECTORY,
    FIFO,
    GNU_SPARSE,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Entry,
    Refusal,
    malformed,
    show,
)
from tricorn.fs.tarstream import TarStream

WhiteoutForm = Literal["overlay", "apply"]

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WARNINGS: Final = 100  # kept; a hostile layer could cause one for each entry
_MAJOR_MAX: Final = 2**12 - 1
_MINOR_MAX: Final = 2**20 - 1
_DEFAULT_ACL: Final = "system.posix_acl_default"
_DOT: Final = ord(".")
_PARENTS: Final = 4096  # directory parts of names that are remembered
_PARENT_LENGTH: Final = limits.TAR_PATH_LENGTH - limits.TAR_NAME_LENGTH - 1
_SPECIAL: Final = {CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}


class LayerApplier:
    """Applies one layer to the directory behind `root`. The process's umask must be 0.

    After `run`, `warnings` says what was left out on purpose, `tally` what the layer takes on disk, and
    `implied` names the directories that were made without an entry of their own: their metadata belongs to
    a lower layer, if one has them.
    """

    def __init__(
        self,
        root: int,
        form: WhiteoutForm = "overlay",
        *,
        skip_devices: bool = False,
        filling: Filling | None = None,
    ) -> None:
        self._skip_devices = skip_devices
        self._filling = filling
        self._tree = DirectoryTree(root)
        self._whiteouts = whiteouts.of_form(form, self._tree)
        # Only removals ask later what this layer brought: marks never touch it.
        self._note_unpacked = self._whiteouts.unpacked if form == "apply" else None
        self.tally = Tally(root)
        self.tally.known = form == "overlay"
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._parents: dict[bytes, bytes] = {}
        self._times: dict[bytes, int] = {}
        self._acls: dict[bytes, bytes] = {}
        self._root_described = False
        self.warnings: list[str] = []
        self._kinds = {
            REGULAR: self._regular, CONTIGUOUS: self._regular, DIRECTORY: self._directory,
            SYMLINK: self._symlink, HARDLINK: self._hardlink, GNU_SPARSE: self._regular,
            CHARACTER: self._special, BLOCK_DEVICE: self._special, FIFO: self._special,
        }  # fmt: skip

    @property
    def implied(self) -> list[bytes]:
        """Names of directories without an entry; `b"."` is the root."""
        names = list(self._tree.implied)
        return names if self._root_described else [b".", *names]

    def run(self, stream: TarStream) -> None:
        """Apply every member, then the directories' times.

        Raises InvalidArgument naming the entry, or ResourceExhausted. What was applied stays.
        """
        try:
            while (entry := stream.next()) is not None:
                self._apply(stream, entry)
            self._finish_directories()
        finally:
            self._tree.close()

    def _apply(self, stream: TarStream, entry: Entry) -> None:
        try:
            self._entry(stream, entry)
        except OSError as error:
            raise entry_error(entry, error) from error
        except ValueError as error:  # an embedded NUL, or a number beyond the C type
            raise malformed(str(error), entry.name) from error
        except Refusal as error:
            raise malformed(str(error), entry.name) from error

    def _entry(self, stream: TarStream, entry: Entry) -> None:
        written, _, base = entry.name.rpartition(b"/")
        parent_path = self._parents.get(written)
        if parent_path is not None and base and base[0] != _DOT and len(base) <= limits.TAR_NAME_LENGTH:
            path = parent_path + b"/" + base if parent_path else base
        else:
            path = clean_name(entry.name)
            if not path:
                self._describe_root(entry)
                return
            parent_path, _, base = path.rpartition(b"/")
            if b".wh." in path and self._whiteout(parent_path, base, path):
                return
            self._remember_parent(written, parent_path, entry.name, base)
        apply = self._kinds.get(entry.type)
        if apply is None:
            raise Refusal(f"its type {entry.type!r} is unknown")
        check_ranges(entry)
        apply(stream, entry, self._tree.ensure(parent_path), path, base)
        if self._note_unpacked is not None:
            self._note_unpacked(path)

    def _remember_parent(self, written: bytes, cleaned: bytes, name: bytes, base: bytes) -> None:
        """Note what the directory part of a name comes down to: a layer's files follow each other in it."""
        plain = name.endswith(base) and b".wh." not in cleaned and len(written) < _PARENT_LENGTH
        if plain:
            if len(self._parents) >= _PARENTS:
                self._parents.clear()
            self._parents[written] = cleaned

    def _whiteout(self, parent_path: bytes, base: bytes, path: bytes) -> bool:
        """Put a whiteout into effect; False if the entry is something else."""
        if base == whiteouts.OPAQUE and b"/.wh..wh." not in b"/" + parent_path:
            self._whiteouts.opaque(parent_path)
        elif b"/.wh..wh." in b"/" + path:
            self._warn(f"{show(path)}: metadata of aufs is left out")
        elif base.startswith(whiteouts.PREFIX):
            name = base[len(whiteouts.PREFIX) :]
            if name in (b"", b".", b".."):
                raise Refusal("a whiteout names nothing that can be removed")
            self.tally.inodes += self._whiteouts.hide(parent_path, name)
        else:
            return False
        return True

    # ------------------------------------------------------------ kinds of members
    def _regular(self, stream: TarStream, entry: Entry, parent: Directory, path: bytes, base: bytes) -> None:
        mode, size, mtime = entry.mode, entry.size, entry.mtime
        try:
            fd = os.open(base, _CREATE, mode, dir_fd=parent.fd)
        except FileExistsError:
            parent = self._displace(parent, base)
            fd = os.open(base, _CREATE, mode, dir_fd=parent.fd)
        given = False
        try:
            foreign = entry.uid != self._uid or entry.gid != self._gid or not parent.plain
            if foreign or mode & 0o7000 or entry.xattrs or entry.pax or entry.segments is not None:
                self._unusual(stream, entry, fd, path, plain=parent.plain)
            else:
                self.tally.file(size)
                if size and not (given := self._given(stream, entry, fd)):
                    stream.copy(fd, size)
            if not given:
                os.utime(fd, ns=(mtime, mtime))
        finally:
            if not given:
                os.close(fd)

    def _given(self, stream: TarStream, entry: Entry, fd: int) -> bool:
        """Have a file filled, dated and closed beside; False if that isn't worth it, or can't be done."""
        filling = self._filling
        if filling is None or stream.entries <= filling.after or (where := stream.lend()) is None:
            return False
        filling.give(fd, where, entry)
        return True

    def _unusual(self, stream: TarStream, entry: Entry, fd: int, path: bytes, *, plain: bool) -> None:
        """Fill a file that is sparse, or that isn't described by how it was made alone."""
        whole = entry.pax is None and entry.segments is None
        if not whole:
            sparse.restore(stream, entry, fd)
        elif entry.size:
            stream.copy(fd, entry.size)
        if entry.uid != self._uid or entry.gid != self._gid or not plain:
            os.fchown(fd, entry.uid, entry.gid)
        if entry.mode & 0o7000 or not plain:  # chown(2) clears the set-ID bits
            os.fchmod(fd, entry.mode)
        if entry.xattrs:
            self._set_xattrs(entry, fd, path)
        if whole and not entry.xattrs:
            self.tally.file(entry.size)
        else:
            self.tally.measured(fd)

    def _directory(self, _: TarStream, entry: Entry, parent: Directory, path: bytes, base: bytes) -> None:
        fresh = True
        try:
            os.mkdir(base, entry.mode, dir_fd=parent.fd)
        except FileExistsError:
            status = os.stat(base, dir_fd=parent.fd, follow_symlinks=False)
            fresh = not stat.S_ISDIR(status.st_mode)
            if fresh:
                hidden = self._whiteouts.is_marker(status)
                parent = self._displace(parent, base)
                os.mkdir(base, entry.mode, dir_fd=parent.fd)
                if hidden:
                    self._whiteouts.seal(parent.fd, base)
        fd = os.open(base, _OPEN_DIRECTORY, dir_fd=parent.fd)
        try:
            self._describe(entry, fd, path, fresh=fresh and parent.plain)
            plain = not entry.mode & stat.S_ISGID and ((fresh and parent.plain) or is_plain(fd, entry.mode))
        except BaseException:
            os.close(fd)
            raise
        self._tree.add(path, Directory(fd, plain=plain))
        self._tree.implied.pop(path, None)

    def _describe(self, entry: Entry, fd: int, path: bytes, *, fresh: bool) -> None:
        """Give a directory its metadata; a `fresh` one has our owner and the plain part of its mode."""
        if not fresh or entry.uid != self._uid or entry.gid != self._gid:
            os.fchown(fd, entry.uid, entry.gid)
        if not fresh or entry.mode & 0o7000:
            os.fchmod(fd, entry.mode)
        if entry.xattrs:
            # A default ACL would change what is made below: it comes last, with the times.
            acl = entry.xattrs.pop(_DEFAULT_ACL, None)
            if acl is not None:
                self._acls[path] = acl
            self._set_xattrs(entry, fd, path)
        self._times[path] = entry.mtime

    def _describe_root(self, entry: Entry) -> None:
        if entry.type != DIRECTORY:
            raise Refusal("the root of a layer must be a directory")
        check_ranges(entry)
        root = self._tree.root
        self._describe(entry, root.fd, b"", fresh=False)
        root.plain = is_plain(root.fd)
        self._root_described = True

    def _symlink(self, _: TarStream, entry: Entry, parent: Directory, path: bytes, base: bytes) -> None:
        try:
            os.symlink(entry.link, base, dir_fd=parent.fd)
        except FileExistsError:
            parent = self._displace(parent, base)
            os.symlink(entry.link, base, dir_fd=parent.fd)
        self.tally.symlink(entry.link)
        self._describe_by_name(entry, parent, path, base, chmod=False)

    def _special(self, _: TarStream, entry: Entry, parent: Directory, path: bytes, base: bytes) -> None:
        device = 0
        if entry.type != FIFO:
            if not (0 <= entry.major <= _MAJOR_MAX and 0 <= entry.minor <= _MINOR_MAX):
                raise Refusal(f"its device number {entry.major}:{entry.minor} is out of range")
            device = os.makedev(entry.major, entry.minor)
        mode = _SPECIAL[entry.type] | entry.mode
        try:
            os.mknod(base, mode, device, dir_fd=parent.fd)
        except FileExistsError:
            parent = self._displace(parent, base)
            os.mknod(base, mode, device, dir_fd=parent.fd)
        except PermissionError:
            if entry.type == FIFO or not self._skip_devices:
                raise
            self._warn(f"{show(path)}: devices cannot be made in a user namespace")
            return
        self.tally.special()
        self._describe_by_name(entry, parent, path, base, chmod=True)

    def _describe_by_name(
        self, entry: Entry, parent: Directory, path: bytes, base: bytes, *, chmod: bool
    ) -> None:
        if entry.uid != self._uid or entry.gid != self._gid or not parent.plain:
            os.chown(base, entry.uid, entry.gid, dir_fd=parent.fd, follow_symlinks=False)
        if chmod and (entry.mode & 0o7000 or not parent.plain):
            # Never a symlink: this name was made as a FIFO or device just now, by the only writer.
            os.chmod(base, entry.mode, dir_fd=parent.fd)
        if entry.xattrs:
            self._set_xattrs_by_name(entry, parent.fd, path, base)
        os.utime(base, ns=(entry.mtime, entry.mtime), dir_fd=parent.fd, follow_symlinks=False)

    def _hardlink(self, _: TarStream, entry: Entry, parent: Directory, path: bytes, base: bytes) -> None:
        target = clean_name(entry.link)
        if not target or target == path:
            raise Refusal(f"it is a hard link to {show(entry.link) or 'nothing'!r}")
        directory_path, _slash, name = target.rpartition(b"/")
        source = self._tree.existing(directory_path)
        parent = self._tree.ensure(path[: -len(base) - 1])
        source = self._tree.existing(directory_path)  # may have been closed in favour of `parent`
        try:
            self._link(source, name, parent, base)
        except FileExistsError:
            parent = self._displace(parent, base)
            self._link(self._tree.existing(directory_path), name, parent, base)

    def _link(self, source: Directory, name: bytes, parent: Directory, base: bytes) -> None:
        os.link(name, base, src_dir_fd=source.fd, dst_dir_fd=parent.fd, follow_symlinks=False)

    # ------------------------------------------------------------ shared steps
    def _displace(self, parent: Directory, base: bytes) -> Directory:
        """Remove what has the name already and return the parent, still open."""
        self.tally.known = False
        status = os.stat(base, dir_fd=parent.fd, follow_symlinks=False)
        whiteouts.remove(parent.fd, base)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self._tree.forget(keep=parent)
        return parent

    def _set_xattrs(self, entry: Entry, fd: int, path: bytes) -> None:
        for key, value in (entry.xattrs or {}).items():
            if self._allowed(key, path):
                try:
                    os.setxattr(fd, key, value)
                except OSError as error:
                    self._tolerate(error, key, path)

    def _set_xattrs_by_name(self, entry: Entry, parent: int, path: bytes, base: bytes) -> None:
        # No call sets an xattr of a symlink relative to a descriptor on the kernels in use.
        before = os.open(".", os.O_PATH | os.O_CLOEXEC)
        try:
            os.fchdir(parent)
            for key, value in (entry.xattrs or {}).items():
                if self._allowed(key, path):
                    try:
                        os.setxattr(base, key, value, follow_symlinks=False)
                    except OSError as error:
                        self._tolerate(error, key, path)
        finally:
            os.fchdir(before)
            os.close(before)

    def _allowed(self, key: str, path: bytes) -> bool:
        # Overlay mounts obey these: a layer could redirect or hide what isn't its own.
        if key.startswith(("trusted.", "user.overlay.")):
            self._warn(f"{show(path)}: the extended attribute {key[:64]!a} is left out")
            return False
        return True

    def _tolerate(self, error: OSError, key: str, path: bytes) -> None:
        if error.errno == errno.ENOTSUP or (error.errno == errno.EPERM and key.startswith("user.")):
            self._warn(f"{show(path)}: the extended attribute {key[:64]!a} is not supported here")
            return
        raise error

    def _warn(self, text: str) -> None:
        if len(self.warnings) < _WARNINGS:
            self.warnings.append(text)

    def _finish_directories(self) -> None:
        """Count directories, and set their default ACLs and times, which later entries would have changed."""
        for path, acl in self._acls.items():
            try:
                os.setxattr(self._tree.existing(path).fd, _DEFAULT_ACL, acl)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.ENOENT, errno.ENOTDIR):
                    raise malformed("its default ACL is invalid", path) from error
        for path, mtime in self._times.items():
            parent, _, base = path.rpartition(b"/")
            try:
                directory = self._tree.existing(parent).fd if path else self._tree.root.fd
                os.utime(base or b".", ns=(mtime, mtime), dir_fd=directory, follow_symlinks=False)
                self.tally.directory(os.stat(base or b".", dir_fd=directory, follow_symlinks=False))
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later entry replaced the directory
        for path in (b"", *self._tree.implied) if self.tally.known else ():
            self.tally.directory(os.fstat(self._tree.existing(path).fd))
