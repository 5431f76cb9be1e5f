"""What snapshotters that keep one directory for each snapshot have in common.

`<root>/snapshots/<id>`; `new-<id>` is being made, `rm-<id>-<n>` is being removed. Both appear in `walk`.
"""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import trio

from tricorn.errors import InvalidArgument, TricornError
from tricorn.fs import trees
from tricorn.fs.failures import typed
from tricorn.fs.mounts import mount_all, unmount
from tricorn.model.records import Usage
from tricorn.ports import FilesystemMount

T = TypeVar("T")

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UNSAFE_IN_OPTIONS: Final = frozenset(",:\\\n")
_NEW: Final = "new-"
_REMOVED: Final = "rm-"
MAPPED_TRIAL: Final = ("uidmap=0:65536:65536", "gidmap=0:65536:65536")
_THREADS: Final = 4  # walks and removals are bound by the disk


class DirectoryStore:
    """Makes, renames, measures and removes the directories. `root` is private to the snapshotter."""

    def __init__(self, root: str) -> None:
        root = os.path.abspath(root)
        if _UNSAFE_IN_OPTIONS & set(root):
            raise InvalidArgument(
                f"the snapshotter's root {root!r} cannot be used",
                why="commas, colons and backslashes have a meaning in mount options",
                field="root",
            )
        self.root = root
        self.directory = os.path.join(root, "snapshots")
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._serial = itertools.count()
        self._busy: set[str] = set()  # names of what is being made or removed right now

    def path(self, backend_id: str, *below: str) -> str:
        """Return where the snapshot is. Raises InvalidArgument for an id that is no file name."""
        if not _ID.fullmatch(backend_id):
            raise InvalidArgument(f"snapshot id {backend_id!r} is malformed", field="backend_id")
        return os.path.join(self.directory, backend_id, *below)

    async def in_thread(self, work: Callable[[], T], what: str) -> T:
        """Run blocking `work`; OSError becomes a typed error saying that `what` could not be done."""
        try:
            return await trio.to_thread.run_sync(work, limiter=self._limiter)
        except OSError as error:
            raise typed(error, what) from error

    def prepare(self) -> None:
        """Make the private directories, and make them private if they exist (CVE-2021-41103)."""
        for path in (self.root, self.directory):
            os.makedirs(path, 0o700, exist_ok=True)
            os.chmod(path, 0o700)

    def install(self, backend_id: str, fill: Callable[[str], None]) -> None:
        """Make the snapshot's directory whole or not at all: `fill` a new one, then rename it."""
        final = self.path(backend_id)
        new = os.path.join(self.directory, _NEW + backend_id)
        self.prepare()
        with self._working_on(new):
            self._remove_path(new)
            os.mkdir(new, 0o700)
            try:
                fill(new)
                self._displace(final)
                os.rename(new, final)
            except BaseException:
                self._remove_path(new)
                raise

    def remove(self, backend_id: str) -> None:
        """Take the snapshot's name away first, then its content; missing is no error.

        Takes the names of half-made and half-removed directories too, as `walk` gives them.
        """
        self._displace(self.path(backend_id))

    def walk(self) -> list[str]:
        """Return the names of all directories but those that this process is making or removing now."""
        try:
            return sorted(set(os.listdir(self.directory)) - self._busy.copy())
        except FileNotFoundError:
            return []

    @contextmanager
    def _working_on(self, path: str) -> Iterator[None]:
        name = os.path.basename(path)
        self._busy.add(name)
        try:
            yield
        finally:
            self._busy.discard(name)

    def usage(self, backend_id: str, *below: str) -> Usage:
        """Measure the snapshot. Raises OSError."""
        path = self.path(backend_id, *below)
        parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return Usage(*trees.disk_usage(parent, os.path.basename(path)))
        finally:
            os.close(parent)

    def _displace(self, path: str) -> None:
        name = os.path.basename(path)
        if not name.startswith(_REMOVED):
            removed = os.path.join(self.directory, f"{_REMOVED}{name}-{os.getpid()}-{next(self._serial)}")
            with self._working_on(removed):
                try:
                    os.rename(path, removed)
                except FileNotFoundError:
                    return
                self._remove_path(removed)
        else:
            self._remove_path(path)

    def _remove_path(self, path: str) -> None:
        try:
            parent = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            trees.remove_tree(parent, os.path.basename(path))
        finally:
            os.close(parent)


class DirectorySnapshotter:
    """The calls of ports.Snapshotter that are the same for every kind of directory."""

    _store: DirectoryStore
    _unmapped: str | None = None

    async def unmapped(self) -> str:
        """Return "" if mounts of these snapshots can show other owners than the disk, else why not."""
        if self._unmapped is None:
            self._unmapped = await self._store.in_thread(self._try_to_map, "cannot try an id-mapped mount")
        return self._unmapped

    def _try_to_map(self) -> str:
        """Mount an empty snapshot as a user namespace is to see it, and take it down."""
        self._store.prepare()
        with tempfile.TemporaryDirectory(prefix="try-", dir=self._store.root) as scratch:
            target = os.path.join(scratch, "target")
            os.mkdir(target)
            try:
                mount_all([self._mapped_trial(scratch)], target)
            except TricornError as error:
                return error.why or error.what
            unmount(target, detach=True)
        return ""

    def _mapped_trial(self, scratch: str) -> FilesystemMount:
        """Return a mount of what is made below `scratch`, of the kind that containers get."""
        return FilesystemMount("bind", scratch, ("rw", "rbind", *MAPPED_TRIAL))

    async def commit(self, backend_id: str, usage: Usage | None = None) -> Usage:
        return usage or await self.usage(backend_id)

    async def remove(self, backend_id: str) -> None:
        what = f"cannot remove the snapshot {backend_id}"
        await self._store.in_thread(lambda: self._store.remove(backend_id), what)

    async def usage(self, backend_id: str) -> Usage:
        what = f"cannot measure the snapshot {backend_id}"
        return await self._store.in_thread(lambda: self._store.usage(backend_id, "fs"), what)

    async def walk(self) -> list[str]:
        return await self._store.in_thread(self._store.walk, "cannot list the snapshots")
