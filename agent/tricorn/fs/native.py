"""Snapshots as full copies: works on every file system, costs space and time."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tricorn.fs.copytree import copy_tree
from tricorn.fs.directory_store import DirectorySnapshotter, DirectoryStore
from tricorn.model.records import SnapshotKind
from tricorn.ports import FilesystemMount


class NativeSnapshotter(DirectorySnapshotter):
    """Implements `ports.Snapshotter` under `root`, which must be this snapshotter's own directory.

    A layer is applied to an active snapshot made on its parent: `mounts(...)[0].source` is the directory,
    and whiteouts take the form `apply`.
    """

    name = "native"

    def __init__(self, root: str) -> None:
        self._store = DirectoryStore(root)

    async def supported(self) -> str:
        return ""

    async def create(self, backend_id: str, kind: SnapshotKind, parents: Sequence[str]) -> None:
        """Copy the nearest parent whole; a view of a parent needs no copy of its own."""
        source = self._store.path(parents[0], "fs") if parents and kind is not SnapshotKind.VIEW else ""

        def fill(path: str) -> None:
            directory = os.path.join(path, "fs")
            os.mkdir(directory)
            os.chmod(directory, 0o755)  # noqa: S103 - a container's root; what is above is private
            if source:
                copy_tree(source, directory)

        what = f"cannot create the snapshot {backend_id}"
        await self._store.in_thread(lambda: self._store.install(backend_id, fill), what)

    def mounts(
        self, backend_id: str, kind: SnapshotKind, parents: Sequence[str]
    ) -> tuple[FilesystemMount, ...]:
        """Return the bind mount of the snapshot's directory."""
        view = kind is SnapshotKind.VIEW
        shown = parents[0] if view and parents else backend_id
        return (FilesystemMount("bind", self._store.path(shown, "fs"), ("ro" if view else "rw", "rbind")),)

    def layer_root(self, backend_id: str) -> str | None:  # noqa: ARG002 - the port's signature
        return None

    async def adopt(self, backend_id: str, parents: Sequence[str], implied: Sequence[str]) -> None:
        """Nothing to do: layers are applied to a copy of the parent, which has the directories."""
