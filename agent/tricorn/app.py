"""The composition root: the only place that constructs workers and services and owns the root nursery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from attrs import define

from tricorn.assembly.distribution import make_distribution, peer_service
from tricorn.assembly.running import open_running
from tricorn.assembly.services import make_services
from tricorn.assembly.upkeep import open_upkeep
from tricorn.assembly.workers import Workers, open_workers
from tricorn.config import Config
from tricorn.service import Services
from tricorn.service.figures import Figures
from tricorn.service.peers import PeerService
from tricorn.service.recovery import Recovery
from tricorn.service.restarts import Restarter
from tricorn.service.tidying import Tidier
from tricorn.store.collect import Collector


@define
class Agent:
    """All services of one running agent."""

    config: Config
    workers: Workers
    services: Services
    collector: Collector
    recovery: Recovery
    restarter: Restarter
    tidier: Tidier
    figures: Figures
    peers: PeerService


@asynccontextmanager
async def open_agent(config: Config, environment: dict[str, str]) -> AsyncIterator[Agent]:
    """Construct everything, bottom up; close it in reverse."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        workers = await enter(open_workers(config, environment))
        images = await make_distribution(config, workers)
        running = await enter(open_running(config, workers, images.gate))
        upkeep = await enter(open_upkeep(config, workers))
        recovery = Recovery(
            workers.db, workers.content, upkeep.gc, workers.runtime, running.lifecycle, running.specs,
            workers.clock, workers.boot_id, running.dumper,
        )  # fmt: skip
        recovery.execs = running.execs
        recovery.lazy = running.reviver.lazy
        yield Agent(
            config,
            workers,
            make_services(config, workers, images, running, upkeep),
            upkeep.collector,
            recovery,
            running.restarter,
            running.tidier,
            upkeep.figures,
            peer_service(config.peers, workers, images.puller),
        )
