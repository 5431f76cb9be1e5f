"""The layer that a snapshot adds to what it stands on, for clients that take it away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tricorn.errors import Aborted, InvalidArgument
from tricorn.model.oci import OCI_LAYER
from tricorn.model.records import Snapshot, SnapshotKind
from tricorn.ports import FilesystemMount
from tricorn.service.content_access import BlobReader, BlobService
from tricorn.service.diff import DiffService
from tricorn.service.held_lease import held_lease
from tricorn.service.snapshots import SnapshotService
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

LAYER_TYPES: Final = {"gzip": f"{OCI_LAYER}+gzip", "zstd": f"{OCI_LAYER}+zstd", "none": OCI_LAYER}


class SnapshotLayers:
    def __init__(
        self, db: Database, snapshots: SnapshotService, diff: DiffService, blobs: BlobService
    ) -> None:
        self._db = db
        self._snapshots = snapshots
        self._diff = diff
        self._blobs = blobs

    @asynccontextmanager
    async def layer(
        self, namespace: str, snapshotter: str, key: str, *, parent: str | None = None,
        compression: str = "gzip", epoch: int | None = None,
    ) -> AsyncIterator[BlobReader]:  # fmt: skip
        """Make the layer that turns `parent` (None: what the snapshot stands on, "": nothing) into a
        snapshot of any kind, and give its bytes; nothing of it is kept. `epoch`, in seconds, bounds times.

        NotFound; InvalidArgument for a parent that isn't committed; Aborted when the snapshot is removed
        meanwhile.
        """
        snapshot, own, below = await self._read(namespace, snapshotter, key, parent)
        left, right = self._shown(snapshotter, below), self._shown(snapshotter, own)
        if snapshot.kind is SnapshotKind.ACTIVE:
            right = await self._snapshots.mounts(namespace, snapshotter, key)
        async with held_lease(self._db, namespace, "diff") as lease:
            made = await self._diff.diff(
                namespace, left, right, media_type=LAYER_TYPES[compression], lease=lease, epoch=epoch
            )
            now = await self._db.read(lambda tx: tx.snapshots.find(namespace, snapshotter, key))
            if now is None or now.backend_id != snapshot.backend_id:
                raise Aborted(f"snapshot {key} was removed while it was read")
            async with self._blobs.reader(namespace, made.digest) as reader:
                yield reader

    async def _read(
        self, namespace: str, snapshotter: str, key: str, parent: str | None
    ) -> tuple[Snapshot, tuple[str, ...], tuple[str, ...]]:
        """Return the snapshot, and the directories that it and its parent consist of, nearest first."""

        def read(tx: Transaction) -> tuple[Snapshot, tuple[str, ...], tuple[str, ...]]:
            found = tx.snapshots.get(namespace, snapshotter, key)
            under = tx.snapshots.parent_ids(namespace, snapshotter, found.parent)
            own = under if found.kind is SnapshotKind.VIEW else (found.backend_id, *under)
            if parent is None:
                return found, own, under
            if parent and tx.snapshots.get(namespace, snapshotter, parent).kind is not SnapshotKind.COMMITTED:
                raise InvalidArgument(f"parent snapshot {parent} is not committed", field="parent")
            return found, own, tx.snapshots.parent_ids(namespace, snapshotter, parent)

        self._snapshots.backend(snapshotter)
        return await self._db.read(read)

    def _shown(self, snapshotter: str, directories: tuple[str, ...]) -> tuple[FilesystemMount, ...]:
        """Return the mounts that a view of committed snapshots has, none of nothing."""
        if not directories:
            return ()
        backend = self._snapshots.backend(snapshotter)
        return backend.mounts(directories[0], SnapshotKind.VIEW, directories)
