"""Containers: their life, their processes, sandboxes, dumps."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from attrs import define

from tricorn.assembly.workers import Workers
from tricorn.config import Config
from tricorn.service.bundles import Bundles
from tricorn.service.container_records import ContainerRecords
from tricorn.service.dumps import Dumper
from tricorn.service.execs import Execs
from tricorn.service.health import HealthService
from tricorn.service.lifecycle import Lifecycle
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
        tasks = TaskService(db, runtime, lifecycle, specs)
        health = HealthService(db, tasks, clock)
        lifecycle.health_of = health.of
        execs = await enter(Execs.open(db, runtime, clock))
        reviver = Reviver(workers.content, workers.extractor, runtime, bundles, workers.machine)
        processes = ProcessService(db, runtime, lifecycle, tasks, execs, reviver)
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
            restarter,
        )  # fmt: skip
