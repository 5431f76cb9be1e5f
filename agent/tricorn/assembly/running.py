"""Containers: their life, their processes, sandboxes, dumps."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from attrs import define

from tricorn.assembly.workers import Workers
from tricorn.config import Config
from tricorn.rules.networks import agent_tag
from tricorn.rules.nft import table_name
from tricorn.runtime.cni import Cni
from tricorn.service.attachments import AttachmentService
from tricorn.service.bundles import Bundles
from tricorn.service.container_records import ContainerRecords
from tricorn.service.cordon import Cordon
from tricorn.service.dumps import Dumper
from tricorn.service.execs import Execs
from tricorn.service.health import HealthService
from tricorn.service.kept_execs import ExecService
from tricorn.service.lazy_memory import LazyMemory
from tricorn.service.lifecycle import Lifecycle
from tricorn.service.network_making import BridgeMaker, CniMaker
from tricorn.service.network_places import NetworkPlaces
from tricorn.service.networks import NetworkService
from tricorn.service.policy import PolicyGate
from tricorn.service.processes import ProcessService
from tricorn.service.restarts import Restarter
from tricorn.service.revival import Reviver
from tricorn.service.sandbox_controller import SandboxController
from tricorn.service.sandbox_holders import SandboxHolders
from tricorn.service.sandbox_members import SandboxMembers
from tricorn.service.specs import SpecFactory
from tricorn.service.supervisor import Supervisor
from tricorn.service.tasks import TaskService
from tricorn.service.tidying import Tidier


@define
class Running:
    """What runs containers, and looks after them."""

    supervisor: Supervisor
    specs: SpecFactory
    tidier: Tidier
    lifecycle: Lifecycle
    tasks: TaskService
    health: HealthService
    execs: Execs
    reviver: Reviver
    processes: ProcessService
    sandboxes: SandboxController
    dumper: Dumper
    restarter: Restarter
    networks: NetworkService
    kept_execs: ExecService

    def statistics(self) -> dict[str, int]:
        return {
            "live": self.supervisor.live(),
            "execs": self.execs.running(),
            "tidying": self.tidier.running(),
            "sandboxes": self.sandboxes.running(),
        }


@asynccontextmanager
async def open_running(config: Config, workers: Workers, gate: PolicyGate) -> AsyncIterator[Running]:
    """Open it; containers outlive its end."""
    db, runtime, clock, boot_id = workers.db, workers.runtime, workers.clock, workers.boot_id
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        supervisor = await enter(Supervisor.open(db, runtime))
        specs = SpecFactory(runtime, config.cgroup)
        bundles = Bundles(config.root, config.state, config.logs.size, config.logs.files)
        tidier = workers.snapshots.tidier = await enter(Tidier.open())
        lifecycle = Lifecycle(db, workers.snapshots, runtime, bundles, specs, supervisor, tidier, boot_id)
        lifecycle.cordon = await Cordon.load(config.root, clock)
        networks = _networks(config, workers, lifecycle, specs)
        tasks = TaskService(db, runtime, lifecycle, specs)
        health = HealthService(db, tasks, clock)
        lifecycle.health_of = health.of
        execs = await enter(Execs.open(db, runtime, clock))
        lifecycle.forget_execs = execs.forget_all
        reviver = Reviver(workers.content, runtime, bundles, workers.machine)
        reviver.lazy = await enter(LazyMemory.open(runtime, bundles))
        processes = ProcessService(db, runtime, lifecycle, tasks, execs, reviver)
        kept_execs = await enter(ExecService.open(runtime, lifecycle, specs, processes, execs, clock))
        records = ContainerRecords(db, runtime, lifecycle, specs, gate)
        holders, members = SandboxHolders(config.state, runtime), SandboxMembers(db, processes)
        sandboxes = await enter(
            SandboxController.open(
                db, runtime, holders, specs, records, members, lifecycle, clock, boot_id, workers.machine
            )
        )  # fmt: skip
        dumper = Dumper(os.path.join(config.root, "dumps"), db, workers.content, runtime, lifecycle)
        restarter = Restarter(db, lifecycle, processes, clock, boot_id)
        yield Running(
            supervisor, specs, tidier, lifecycle, tasks, health, execs, reviver, processes, sandboxes, dumper,
            restarter, networks, kept_execs,
        )  # fmt: skip


def _networks(config: Config, workers: Workers, lifecycle: Lifecycle, specs: SpecFactory) -> NetworkService:
    """Construct what gives containers their networks, and make it known to those who start them."""
    db, tag = workers.db, agent_tag(config.root)
    places = NetworkPlaces(config.state)
    cni = Cni(config.network.cni_lists, config.network.cni_plugins)
    bridges = BridgeMaker(db, places)
    attachments = AttachmentService(
        db, places, bridges, CniMaker(db, places, cni), tag=tag, table=table_name(config.root)
    )
    lifecycle.networks = attachments
    specs.fit_network = attachments.fitted
    pools = config.network
    return NetworkService(db, attachments, bridges, cni, tag=tag, pool=pools.pool, pool6=pools.pool6)
