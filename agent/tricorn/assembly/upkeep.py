"""Collection, verification, mounts, long work and figures."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from attrs import define

from tricorn.assembly.workers import Workers
from tricorn.config import Config
from tricorn.fs.diffing import LayerDiffer
from tricorn.fs.repacking import LayerRepacker
from tricorn.rules.reach import Kind
from tricorn.service.figures import Figures
from tricorn.service.gc import GcService
from tricorn.service.mounts import MountService
from tricorn.service.operations import OperationService
from tricorn.service.process_streams import StreamPipes
from tricorn.service.refetch import Refetcher
from tricorn.service.scrub import ScrubService
from tricorn.service.streams import StreamService
from tricorn.store.collect import Collector
from tricorn.store.gc_schedule import Pace


@define
class Upkeep:
    """What the node needs to stay tidy, and what tells how it is."""

    collector: Collector
    gc: GcService
    mounts: MountService
    differ: LayerDiffer
    repacker: LayerRepacker
    operations: OperationService
    streams: StreamService
    scrub: ScrubService
    figures: Figures

    def statistics(self) -> dict[str, Callable[[], Mapping[str, Any]]]:
        return {
            "containers": self.figures.containers,
            "content": self.figures.content,
            "gc": self.collector.statistics,
            "scrub": self.scrub.statistics,
            "usage": self.figures.usage,
            "operations": lambda: {"running": self.operations.running()},
        }


@asynccontextmanager
async def open_upkeep(config: Config, workers: Workers) -> AsyncIterator[Upkeep]:
    """Open it; mounts of an earlier agent are found again."""
    db, content, clock = workers.db, workers.content, workers.clock
    collector = Collector(db, content, workers.snapshots.discard, clock, _pace(config))
    mounts = MountService(os.path.join(config.state, "mounts"), db, clock)
    await mounts.recover()
    reading = os.path.join(config.state, "mounts", "reading")
    async with AsyncExitStack() as stack:
        operations = await stack.enter_async_context(OperationService.open(clock))
        streams = StreamService()
        workers.runtime.use_streams(await stack.enter_async_context(StreamPipes.open(streams)))
        collector.collectibles.update({Kind.MOUNT: mounts, Kind.STREAM: streams})

        def busy() -> bool:
            return bool(content.active) or operations.running() > 0

        refetcher = Refetcher(db, content, workers.registry)
        scrub = ScrubService(db, content, refetcher, clock, config.scrub, busy)
        yield Upkeep(
            collector, GcService(collector, workers.snapshots), mounts,
            LayerDiffer(workers.extractor, reading), LayerRepacker(workers.extractor, reading),
            operations, streams, scrub, Figures(db),
        )  # fmt: skip


def _pace(config: Config) -> Pace:
    gc = config.gc
    return Pace(
        gc.pause_threshold, gc.deletion_threshold, gc.mutation_threshold, gc.schedule_delay, gc.startup_delay
    )
