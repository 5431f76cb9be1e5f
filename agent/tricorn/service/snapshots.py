"""Snapshots: records of the store and directories of a snapshotter, kept together.

A directory is made before its record, under a reservation that protects it from the sweep; a record goes
before its directory. So whatever a crash leaves is a directory without a record, which the sweep removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from tricorn.errors import Aborted
from tricorn.fs.durability import sync_filesystem
from tricorn.model.records import Snapshot, SnapshotKind, Usage
from tricorn.service.reservations import Reservation
from tricorn.service.snapshot_verbs import SnapshotVerbs
from tricorn.store.transaction import Transaction

_FEW: Final = 32  # rows that may be looked up on the loop


@frozen
class Sealing:
    """A layer about to be committed: its chain id, its directory ("" when its snapshot was there before),
    the directories it has no entry for, and what it takes on disk if that is known.
    """

    key: str
    backend_id: str
    implied: tuple[str, ...] = ()
    usage: Usage | None = None


class SnapshotService(SnapshotVerbs):
    """Use cases on snapshots: those of clients, and those of pulls and of the collector."""

    async def committed(self, namespace: str, snapshotter: str, keys: Sequence[str]) -> dict[str, str]:
        """Return the backend ids of those of `keys` that are committed snapshots of the namespace."""
        if not snapshotter:
            return {}
        look = self._db.look if len(keys) <= _FEW else self._db.read
        return await look(lambda tx: _committed(tx, namespace, snapshotter, keys))

    async def hold(self, namespace: str, snapshotter: str, keys: Sequence[str], lease: str) -> dict[str, str]:
        """As `committed`, and have the lease hold what is there: the image that it came with may go while
        it is built upon.
        """
        if not await self.committed(namespace, snapshotter, keys):
            return {}

        def hold(tx: Transaction) -> dict[str, str]:
            there = _committed(tx, namespace, snapshotter, keys)
            for key in there:
                tx.leases.protect(namespace, lease, f"snapshots/{snapshotter}", key)
            return there

        return await self._db.write(hold, durable=False)

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
                usage = await backend.commit(layer.backend_id, layer.usage)
                sealed.append(
                    Snapshot(
                        snapshotter, layer.key, SnapshotKind.COMMITTED, layer.backend_id, parent, usage=usage
                    )
                )
            below = (layer.backend_id or _still_there(known, layer.key), *below)
            parent = layer.key
        if self._sync:
            mounts = backend.mounts(sealed[0].backend_id, SnapshotKind.ACTIVE, ())
            await sync_filesystem(mounts[0].source)
        return sealed

    async def parents(self, namespace: str, snapshotter: str, key: str) -> tuple[str, ...]:
        """Return the backend ids a snapshot on `key` stands on, nearest first; NotFound."""
        return await self._db.look(lambda tx: tx.snapshots.parent_ids(namespace, snapshotter, key))

    async def discard(self, snapshotter: str, backend_id: str) -> None:
        """Remove a directory that no record names any more (the collector's door)."""
        if snapshotter in self._backends:
            await self._backends[snapshotter].remove(backend_id)


def _committed(tx: Transaction, namespace: str, snapshotter: str, keys: Sequence[str]) -> dict[str, str]:
    found = {key: tx.snapshots.find(namespace, snapshotter, key) for key in keys}
    return {
        key: item.backend_id for key, item in found.items() if item and item.kind is SnapshotKind.COMMITTED
    }


def _still_there(known: Mapping[str, str], key: str) -> str:
    try:
        return known[key]
    except KeyError:
        raise Aborted(f"snapshot {key} was removed meanwhile", hint="pull the image again") from None


__all__ = ["Reservation", "Sealing", "SnapshotService"]
