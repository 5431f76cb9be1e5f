"""Snapshots: records of the store and directories of a snapshotter, kept together.

A directory is made before its record, under a reservation that protects it from the sweep; a record goes
before its directory. So whatever a crash leaves is a directory without a record, which the sweep removes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.fs.durability import sync_filesystem
from tricorn.model.records import Snapshot, SnapshotKind, Usage
from tricorn.ports import Snapshotter
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction


class Reservation:
    """Backend ids of one piece of work: those not kept by its end are removed."""

    def __init__(self, backend: Snapshotter | None, in_flight: set[str]) -> None:
        self._backend = backend
        self._in_flight = in_flight
        self._taken: list[str] = []
        self._kept: set[str] = set()

    def take(self) -> str:
        """Return a new backend id, safe from the sweep while the reservation is open."""
        backend_id = uuid4().hex[:20]
        self._in_flight.add(backend_id)
        self._taken.append(backend_id)
        return backend_id

    def keep(self, *backend_ids: str) -> None:
        """Say that records name these ids now."""
        self._kept.update(backend_ids)

    async def close(self) -> None:
        """Remove the directories of ids that were not kept, whatever is being cancelled."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            for backend_id in self._taken:
                if backend_id not in self._kept and self._backend:
                    await self._backend.remove(backend_id)
        self._in_flight.difference_update(self._taken)


@frozen
class Sealing:
    """A layer about to be committed: its chain id, its directory ("" when its snapshot was there before),
    and the directories it has no entry for.
    """

    key: str
    backend_id: str
    implied: tuple[str, ...] = ()


class SnapshotService:
    """Use cases on snapshots. `backends` are the snapshotters by name; with `sync` the files of an image
    are flushed to disk before its snapshots are recorded.
    """

    def __init__(
        self, db: Database, backends: Mapping[str, Snapshotter], default: str, *, sync: bool = False
    ) -> None:
        self._db = db
        self._backends = backends
        self.default = default
        self._sync = sync
        self.in_flight: set[str] = set()

    def backend(self, name: str) -> Snapshotter:
        """Return the snapshotter `name`; InvalidArgument naming those there are."""
        try:
            return self._backends[name]
        except KeyError:
            known = ", ".join(sorted(self._backends))
            raise InvalidArgument(
                f"no snapshotter {name!r}", hint=f"there are: {known}", field="snapshotter"
            ) from None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._backends)

    @asynccontextmanager
    async def reservation(self, snapshotter: str) -> AsyncIterator[Reservation]:
        """Hold backend ids for one piece of work on `snapshotter` ("" reserves nothing)."""
        held = Reservation(self.backend(snapshotter) if snapshotter else None, self.in_flight)
        try:
            yield held
        finally:
            await held.close()

    async def committed(self, namespace: str, snapshotter: str, keys: Sequence[str]) -> dict[str, str]:
        """Return the backend ids of those of `keys` that are committed snapshots of the namespace."""

        def find(tx: Transaction) -> dict[str, str]:
            found = {key: tx.snapshots.find(namespace, snapshotter, key) for key in keys}
            return {
                key: item.backend_id
                for key, item in found.items()
                if item and item.kind is SnapshotKind.COMMITTED
            }

        return await self._db.read(find) if snapshotter else {}

    async def seal(self, namespace: str, snapshotter: str, chain: Sequence[Sealing]) -> list[Snapshot]:
        """Complete and commit the directories of new layers; return their records-to-be.

        `chain` goes from the lowest layer up; each new one stands on the one before it.
        """
        if not any(layer.backend_id for layer in chain):
            return []
        backend = self.backend(snapshotter)
        known = await self.committed(namespace, snapshotter, [layer.key for layer in chain])
        sealed: list[Snapshot] = []
        below: tuple[str, ...] = ()
        parent = ""
        for layer in chain:
            if layer.backend_id:
                await backend.adopt(layer.backend_id, below, layer.implied)
                usage = await backend.commit(layer.backend_id)
                sealed.append(
                    Snapshot(
                        snapshotter, layer.key, SnapshotKind.COMMITTED, layer.backend_id, parent, usage=usage
                    )
                )
            below = (layer.backend_id or known[layer.key], *below)
            parent = layer.key
        if self._sync:
            mounts = backend.mounts(sealed[0].backend_id, SnapshotKind.ACTIVE, ())
            await sync_filesystem(mounts[0].source)
        return sealed

    async def parents(self, namespace: str, snapshotter: str, key: str) -> tuple[str, ...]:
        """Return the backend ids a snapshot on `key` stands on, nearest first; NotFound."""
        return await self._db.read(lambda tx: tx.snapshots.parent_ids(namespace, snapshotter, key))

    # ------------------------------------------------------------ faces
    async def list(
        self, namespace: str, snapshotter: str = "", filters: Sequence[str] = ()
    ) -> list[Snapshot]:
        """Return the namespace's snapshots, of one snapshotter or of all."""
        return await self._db.read(lambda tx: tx.snapshots.list(namespace, snapshotter, filters))

    async def get(self, namespace: str, snapshotter: str, key: str) -> Snapshot:
        return await self._db.read(lambda tx: tx.snapshots.get(namespace, snapshotter, key))

    async def usage(self, namespace: str, snapshotter: str, key: str) -> Usage:
        """Return a snapshot's own disk usage: measured while it is active, recorded once committed."""
        snapshot = await self.get(namespace, snapshotter, key)
        if snapshot.kind is SnapshotKind.COMMITTED:
            return snapshot.usage
        return await self.backend(snapshotter).usage(snapshot.backend_id)

    async def delete(self, namespace: str, snapshotter: str, key: str) -> None:
        """Remove a snapshot that nothing stands on."""
        snapshot = await self.get(namespace, snapshotter, key)
        await self._db.write(lambda tx: tx.snapshots.remove(namespace, snapshotter, key))
        await self.backend(snapshotter).remove(snapshot.backend_id)

    async def discard(self, snapshotter: str, backend_id: str) -> None:
        """Remove a directory that no record names any more (the collector's door)."""
        if snapshotter in self._backends:
            await self._backends[snapshotter].remove(backend_id)
