"""What namespaces use of the node."""

from __future__ import annotations

from collections.abc import Mapping

import trio
from attrs import evolve

from tricorn.errors import TricornError
from tricorn.model.records import Snapshot, SnapshotKind
from tricorn.model.usage import NamespaceUsage
from tricorn.service.snapshots import SnapshotService
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction


class UsageService:
    def __init__(self, db: Database, snapshots: SnapshotService) -> None:
        self._db = db
        self._snapshots = snapshots

    async def of(self, namespace: str, *, active: bool = False) -> NamespaceUsage:
        """Return what a namespace uses; with `active` also what containers have written, which has to be
        measured file by file. NotFound.
        """

        def read(tx: Transaction) -> NamespaceUsage:
            tx.namespaces.get(namespace)
            return tx.budgets.usage(namespace)

        usage = await self._db.read(read)
        return evolve(usage, active=await self._written(namespace)) if active else usage

    async def _written(self, namespace: str) -> int:
        found = await self._db.read(lambda tx: tx.snapshots.list(namespace))
        total = 0
        for snapshot in found:
            if snapshot.kind is SnapshotKind.ACTIVE:
                total += await self._size(snapshot)
                await trio.lowlevel.checkpoint()
        return total

    async def _size(self, snapshot: Snapshot) -> int:
        try:
            backend = self._snapshots.backend(snapshot.snapshotter)
            return (await backend.usage(snapshot.backend_id)).size
        except TricornError:
            return 0  # removed meanwhile, or of a snapshotter that this node hasn't


def figures(usages: list[NamespaceUsage]) -> Mapping[str, Mapping[str, int]]:
    """Return usages as figures for metrics, by namespace."""
    return {
        usage.namespace: {
            "content_bytes": usage.content,
            "snapshot_bytes": usage.snapshots,
            "blobs": usage.blobs,
            "images": usage.images,
            "containers": usage.containers,
            **{f"budget_{kind}": bound for kind, bound in _bounds(usage) if bound is not None},
        }
        for usage in usages
    }


def _bounds(usage: NamespaceUsage) -> list[tuple[str, int | None]]:
    budget = usage.budget
    return [("bytes", budget.bytes), ("images", budget.images), ("containers", budget.containers)]
