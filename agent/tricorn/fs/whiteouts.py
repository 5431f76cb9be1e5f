"""The two forms of "this isn't there any more": marks for overlay mounts, or removal at once.

Imported by the layer extractor: no third-party module.
"""

from __future__ import annotations

import os
import stat
from typing import Final, Protocol

from tricorn.fs import trees
from tricorn.fs.directories import DirectoryTree

PREFIX: Final = b".wh."
OPAQUE: Final = b".wh..wh..opq"
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_XATTR: Final = "trusted.overlay.opaque"


class Whiteouts(Protocol):
    """How a layer's deletions are put into effect. A deletion never touches the layer's own entries."""

    def hide(self, parent_path: bytes, name: bytes) -> int:
        """Delete `name` of lower layers; return how many files were made for it."""
        ...

    def opaque(self, path: bytes) -> None:
        """Delete all that lower layers have in the directory `path`."""
        ...

    def unpacked(self, path: bytes) -> None:
        """Take note that this layer has `path` itself."""
        ...

    def is_marker(self, status: os.stat_result) -> bool:
        """Tell whether what is there is only the mark of a deletion."""
        ...

    def seal(self, parent: int, name: bytes) -> None:
        """Keep a directory that replaces a mark from merging with what the mark hid."""
        ...


def of_form(form: str, tree: DirectoryTree) -> Whiteouts:
    """Return the whiteouts of the form `overlay` or `apply`."""
    return OverlayMarks(tree) if form == "overlay" else Removals(tree)


def remove(parent: int, name: bytes) -> None:
    """Remove a file or a whole directory. Raises OSError."""
    trees.remove_tree(parent, os.fsdecode(name))


class OverlayMarks:
    """Writes 0/0 character devices and opaque xattrs, as overlay mounts read them."""

    def __init__(self, tree: DirectoryTree) -> None:
        self._tree = tree

    def hide(self, parent_path: bytes, name: bytes) -> int:
        parent = self._tree.ensure(parent_path)
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent.fd)
        except FileExistsError:
            # The layer's own entry hides the lower one already, unless both are directories.
            if stat.S_ISDIR(os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode):
                self.seal(parent.fd, name)
            return 0
        return 1

    def opaque(self, path: bytes) -> None:
        os.setxattr(self._tree.ensure(path).fd, _XATTR, b"y")

    def unpacked(self, path: bytes) -> None:
        pass

    def is_marker(self, status: os.stat_result) -> bool:
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0

    def seal(self, parent: int, name: bytes) -> None:
        fd = os.open(name, _OPEN, dir_fd=parent)
        try:
            os.setxattr(fd, _XATTR, b"y")
        finally:
            os.close(fd)


class Removals:
    """Removes what whiteouts name from the directory itself, sparing what this layer brought."""

    def __init__(self, tree: DirectoryTree) -> None:
        self._tree = tree
        self._own: set[bytes] = set()

    def hide(self, parent_path: bytes, name: bytes) -> int:
        try:
            parent = self._tree.existing(parent_path)
        except (FileNotFoundError, NotADirectoryError):
            return 0  # nothing there to delete
        path = parent_path + b"/" + name if parent_path else name
        if path not in self._own:
            remove(parent.fd, name)
            self._tree.forget()
        elif self._is_directory(parent.fd, name):
            self._clear(path)
        return 0

    def opaque(self, path: bytes) -> None:
        self._tree.ensure(path)
        self._clear(path)

    def unpacked(self, path: bytes) -> None:
        """Own entries and all directories above them are spared."""
        while path and path not in self._own:
            self._own.add(path)
            path = path.rpartition(b"/")[0]

    def is_marker(self, status: os.stat_result) -> bool:  # noqa: ARG002 - the protocol's signature
        return False

    def seal(self, parent: int, name: bytes) -> None:
        pass

    def _clear(self, path: bytes) -> None:
        """Remove all below the directory `path` but the layer's own entries."""
        pending = [path]
        while pending:
            path = pending.pop()
            fd = os.dup(self._tree.existing(path).fd)
            try:
                for name in map(os.fsencode, os.listdir(fd)):
                    below = path + b"/" + name if path else name
                    if below not in self._own:
                        remove(fd, name)
                    elif self._is_directory(fd, name):
                        pending.append(below)
            finally:
                os.close(fd)
            self._tree.forget()

    @staticmethod
    def _is_directory(parent: int, name: bytes) -> bool:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
