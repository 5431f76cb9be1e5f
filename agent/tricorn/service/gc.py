"""Use cases of garbage collection: run it, try it, ask why something is kept."""

from __future__ import annotations

import structlog

from tricorn.model.requests import GcExplanation, GcReport
from tricorn.service.snapshots import SnapshotService
from tricorn.store.collect import Collector

log = structlog.get_logger(__name__)


class GcService:
    def __init__(self, collector: Collector, snapshots: SnapshotService) -> None:
        self._collector = collector
        self._snapshots = snapshots
        collector.protected = snapshots.in_flight

    async def collect(self, *, dry_run: bool = False) -> GcReport:
        """Remove what no image, container or lease needs, in all namespaces; return what went."""
        report = await self._collector.collect(dry_run=dry_run)
        if not dry_run:
            await self.sweep()
        return report

    async def sweep(self) -> None:
        """Remove snapshot directories that no record names: what a crash left."""
        for name in self._snapshots.names:
            await self.clean(name)

    async def clean(self, snapshotter: str) -> None:
        """Do so for one snapshotter."""
        backend = self._snapshots.backend(snapshotter)
        if not await backend.supported():
            removed = await self._collector.sweep_directories(backend)
            if removed:
                log.info("orphaned snapshots removed", snapshotter=snapshotter, count=len(removed))

    async def explain(self, namespace: str, object: str) -> GcExplanation:
        """Say why an object (`content/DIGEST`, `image/NAME`, `snapshot/SS/KEY`, …) is kept, if it is."""
        return await self._collector.explain(namespace, object)
