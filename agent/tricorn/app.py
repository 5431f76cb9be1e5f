"""The composition root: the only place that constructs workers and services and owns the root nursery."""

from __future__ import annotations

import os
import platform
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import attrs
from attrs import define

import tricorn
from tricorn import limits
from tricorn.config import Config, Peers, RegistryConfig
from tricorn.fs.diffing import LayerDiffer
from tricorn.fs.extraction import ExtractorPool
from tricorn.fs.native import NativeSnapshotter
from tricorn.fs.overlay import OverlaySnapshotter
from tricorn.fs.repacking import LayerRepacker
from tricorn.ports import Snapshotter
from tricorn.registry.client import RegistryClient
from tricorn.registry.credentials import CredentialBook, CredentialEntry, CredentialSettings
from tricorn.rules import platforms
from tricorn.rules.peers import Grant, PeerRule
from tricorn.rules.reach import Kind
from tricorn.runtime.supervise import ConmonRuntime
from tricorn.runtime.verifiers import Verifiers
from tricorn.service import Services
from tricorn.service.archive_files import ArchiveFiles
from tricorn.service.archive_writer import Exporter
from tricorn.service.archives import Importer
from tricorn.service.bundles import Bundles
from tricorn.service.catalog import Catalog
from tricorn.service.checkpoints import CheckpointService
from tricorn.service.commit import CommitService
from tricorn.service.container_records import ContainerRecords
from tricorn.service.containers import ContainerService
from tricorn.service.content_access import BlobService
from tricorn.service.convert import Converter
from tricorn.service.diff import DiffService
from tricorn.service.dumps import Dumper
from tricorn.service.execs import Execs
from tricorn.service.figures import Figures
from tricorn.service.gc import GcService
from tricorn.service.health import HealthService
from tricorn.service.image_care import ImageCare
from tricorn.service.image_records import ImageRecords
from tricorn.service.image_states import ImageStates
from tricorn.service.images import ImageService
from tricorn.service.introspection import IntrospectionService
from tricorn.service.layers import LayerPipeline
from tricorn.service.lease_states import LeaseStates
from tricorn.service.lifecycle import Lifecycle
from tricorn.service.mounts import MountService
from tricorn.service.node import NodeService
from tricorn.service.operations import OperationService
from tricorn.service.peers import PeerService
from tricorn.service.policy import PolicyGate
from tricorn.service.policy_checks import PolicyChecks
from tricorn.service.process_streams import StreamPipes
from tricorn.service.processes import ProcessService
from tricorn.service.pull import Puller
from tricorn.service.pull_wide import WidePuller
from tricorn.service.push import Pusher
from tricorn.service.records import EventService, LeaseService, NamespaceService
from tricorn.service.recovery import Recovery
from tricorn.service.referrers import ReferrerService
from tricorn.service.refetch import Refetcher
from tricorn.service.registries import RegistryService
from tricorn.service.restarts import Restarter
from tricorn.service.revival import Reviver
from tricorn.service.sandbox_controller import SandboxController
from tricorn.service.sandbox_holders import SandboxHolders
from tricorn.service.sandbox_members import SandboxMembers
from tricorn.service.sandboxes import SandboxService
from tricorn.service.scrub import ScrubService
from tricorn.service.snapshot_layers import SnapshotLayers
from tricorn.service.snapshots import SnapshotService
from tricorn.service.specs import SpecFactory
from tricorn.service.streams import StreamService
from tricorn.service.supervisor import Supervisor
from tricorn.service.tasks import TaskService
from tricorn.service.tidying import Tidier
from tricorn.service.transfer import TransferService
from tricorn.service.usage import UsageService
from tricorn.store.collect import Collector
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.gc_schedule import Pace


class SystemClock:
    """ports.Clock on the system's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@define
class Workers:
    """The four workers with I/O, opened in the order they need each other."""

    clock: SystemClock
    db: Database
    content: ContentStore
    extractor: ExtractorPool
    registry: RegistryClient
    runtime: ConmonRuntime
    snapshots: SnapshotService


@asynccontextmanager
async def open_workers(config: Config, environment: dict[str, str]) -> AsyncIterator[Workers]:
    """Open store, fs, registry and runtime below the configured directories."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        extractor = await enter(ExtractorPool())  # first: its server is forked while we are small
        db = await enter(Database.open(os.path.join(config.root, "db", "tricorn.db"), clock, config.budgets))
        content = ContentStore(os.path.join(config.root, "content"), db, clock, policy=config.content.sharing)
        registry = await enter(
            RegistryClient(
                config.registry.hosts_dir,
                environment=environment,
                user_agent=f"tricorn/{tricorn.__version__}",
                random=random.Random(),  # noqa: S311 - jitter of retries, no secret
                credentials=CredentialBook(credential_settings(config.registry, environment)),
            )
        )
        runtime = await enter(
            ConmonRuntime(
                config.state,
                runtimes=config.runtimes.paths,
                default=config.runtimes.default,
                environment=environment,
                cgroup_top=config.cgroup,
                log_programs=config.logs.programs,
                criu=config.runtimes.criu,
            )
        )
        directory = os.path.join(config.root, "snapshots")
        made: list[Snapshotter] = [
            OverlaySnapshotter(os.path.join(directory, "overlayfs")),
            NativeSnapshotter(os.path.join(directory, "native")),
        ]
        backends = {backend.name: backend for backend in made}
        snapshots = SnapshotService(db, backends, config.snapshots.default, sync=config.snapshots.sync)
        yield Workers(clock, db, content, extractor, registry, runtime, snapshots)


def credential_settings(config: RegistryConfig, environment: Mapping[str, str]) -> CredentialSettings:
    """Return what the configuration says of credentials, as the registry client takes it."""
    return CredentialSettings(
        tuple(CredentialEntry(**attrs.asdict(entry)) for entry in config.credentials),
        config.docker_config,
        config.credential_helpers,
        config.credential_helper_timeout,
        environment,
    )


def policy_gate(workers: Workers, environment: Mapping[str, str]) -> PolicyGate:
    """Return the gate; it has no policy yet."""
    checks = PolicyChecks(workers.registry, workers.registry, Verifiers(environment))
    return PolicyGate(workers.db, workers.registry, checks)


def peer_service(peers: Peers, workers: Workers, puller: Puller) -> PeerService:
    """Return what other nodes may be served by; nobody asks it unless the configuration opens a door."""
    rules = [PeerRule(entry.names, entry.repositories) for entry in peers.allow]
    grant = Grant(peers.namespaces, peers.repositories, rules)
    return PeerService(workers.db, workers.content, puller.coming, workers.registry.turns, grant)


def watched_tasks(
    workers: Workers, lifecycle: Lifecycle, specs: SpecFactory
) -> tuple[TaskService, HealthService]:
    """Return the tasks, and what asks them how they fare."""
    tasks = TaskService(workers.db, workers.runtime, lifecycle, specs)
    health = HealthService(workers.db, tasks, workers.clock)
    lifecycle.health_of = health.of
    return tasks, health


@define
class Agent:
    """All services of one running agent."""

    config: Config
    workers: Workers
    services: Services
    collector: Collector
    recovery: Recovery
    restarter: Restarter
    supervisor: Supervisor
    figures: Figures
    peers: PeerService


@asynccontextmanager
async def open_agent(config: Config, environment: dict[str, str]) -> AsyncIterator[Agent]:
    """Construct everything, bottom up; close it in reverse."""
    boot_id = _boot_id()
    async with AsyncExitStack() as stack:
        workers = await stack.enter_async_context(open_workers(config, environment))
        db, snapshots, clock = workers.db, workers.snapshots, workers.clock
        machine = platforms.host_platform(platform.machine())
        catalog = Catalog(db, workers.content, snapshots)
        pipeline = LayerPipeline(
            workers.content,
            workers.registry,
            workers.extractor,
            config.registry.parallel_downloads,
            workers.registry.turns,
        )
        gate = policy_gate(workers, environment)
        await gate.load(config.policy.file)
        puller = Puller(db, workers.content, workers.registry, pipeline, snapshots, clock, gate)
        wide = WidePuller(puller, snapshots)
        pusher = Pusher(
            db, workers.content, workers.registry, limits.REGISTRY_PARALLEL_UPLOADS, workers.registry
        )
        transfer = TransferService(
            db,
            puller,
            wide,
            snapshots,
            catalog,
            pusher,
            Importer(workers.content, puller, wide),
            Exporter(db, workers.content, machine),
            machine,
            clock,
        )
        images = ImageService(db, catalog, puller, snapshots, machine)
        supervisor = await stack.enter_async_context(Supervisor.open(db, workers.runtime))
        specs = SpecFactory(workers.runtime, config.cgroup)
        bundles = Bundles(config.root, config.state, config.logs.size, config.logs.files)
        tidier = await stack.enter_async_context(Tidier.open())
        snapshots.tidier = tidier
        lifecycle = Lifecycle(db, snapshots, workers.runtime, bundles, specs, supervisor, tidier, boot_id)
        tasks, health = watched_tasks(workers, lifecycle, specs)
        execs = await stack.enter_async_context(Execs.open(db, workers.runtime, clock))
        reviver = Reviver(workers.content, workers.extractor, workers.runtime, bundles, machine)
        processes = ProcessService(db, workers.runtime, lifecycle, tasks, execs, reviver)
        sandbox_controller = await stack.enter_async_context(
            SandboxController.open(
                db, workers.runtime, SandboxHolders(config.state, workers.runtime), specs,
                ContainerRecords(db, workers.runtime, lifecycle, specs, gate), SandboxMembers(db, processes),
                lifecycle, clock, boot_id, machine,
            )
        )  # fmt: skip
        dumper = Dumper(os.path.join(config.root, "dumps"), db, workers.content, workers.runtime, lifecycle)
        collector = Collector(db, workers.content, snapshots.discard, clock, _pace(config))
        mounts = MountService(os.path.join(config.state, "mounts"), db, clock)
        await mounts.recover()
        collector.collectibles[Kind.MOUNT] = mounts
        reading = os.path.join(config.state, "mounts", "reading")
        differ = LayerDiffer(workers.extractor, reading)
        diff = DiffService(workers.content, workers.extractor, differ, mounts, snapshots)
        repacker = LayerRepacker(workers.extractor, reading)
        operations = await stack.enter_async_context(OperationService.open(clock))
        streams = await _open_streams(stack, workers.runtime)
        collector.collectibles[Kind.STREAM] = streams
        gc = GcService(collector, snapshots)
        images.collector = gc
        figures = Figures(db)
        refetcher = Refetcher(db, workers.content, workers.registry)

        def busy() -> bool:
            return bool(workers.content.active) or operations.running() > 0

        scrub = ScrubService(db, workers.content, refetcher, clock, config.scrub, busy)
        sources = {
            "database": db.statistics,
            "extractor": workers.extractor.statistics,
            "registry": workers.registry.statistics,
            "supervisor": lambda: {
                "live": supervisor.live(),
                "execs": execs.running(),
                "tidying": tidier.running(),
                "sandboxes": sandbox_controller.running(),
            },
            "containers": figures.containers,
            "content": figures.content,
            "gc": collector.statistics,
            "scrub": scrub.statistics,
            "usage": figures.usage,
            "operations": lambda: {"running": operations.running()},
            "policy": gate.statistics,
        }
        node = NodeService(
            db, workers.runtime, snapshots, {"root": config.root, "state": config.state}, machine,
            str(workers.runtime.cgroup_mode), sources, workers.runtime,
        )  # fmt: skip
        node.facts["policy"] = gate.facts
        services = Services(
            node=node,
            namespaces=NamespaceService(db, snapshots.defaults),
            images=images,
            image_states=ImageStates(db, catalog, images, puller, transfer),
            archive_files=ArchiveFiles(db, catalog, transfer, machine),
            lease_states=LeaseStates(db, clock),
            containers=ContainerService(db, images, lifecycle, tasks),
            container_records=sandbox_controller.records,
            tasks=tasks,
            processes=processes,
            health=health,
            content=BlobService(db, workers.content),
            image_records=ImageRecords(db, gc, gate),
            snapshots=snapshots,
            diff=diff,
            commits=CommitService(db, workers.content, snapshots, diff, tasks, wide, machine),
            converter=Converter(db, workers.content, repacker, gate),
            referrers=ReferrerService(
                db, workers.content, catalog, puller, workers.registry, pusher, transfer
            ),
            image_care=ImageCare(db, workers.content, catalog, machine),
            snapshot_layers=SnapshotLayers(db, snapshots, diff, BlobService(db, workers.content)),
            mounts=mounts,
            leases=LeaseService(db, clock, gc.collect),
            gc=gc,
            events=EventService(db),
            operations=operations,
            transfer=transfer,
            streams=streams,
            sandboxes=SandboxService(db),
            sandbox_controller=sandbox_controller,
            registries=RegistryService(workers.registry.explain),
            scrub=scrub,
            usage=UsageService(db, snapshots),
            introspection=IntrospectionService(config.root, machine, snapshots, workers.runtime, environment),
            policy=gate,
            dumper=dumper,
            checkpoints=CheckpointService(
                db,
                workers.content,
                lifecycle,
                snapshots,
                diff,
                catalog,
                wide,
                gate,
                dumper,
                reviver,
                specs,
                machine,
            ),
        )
        recovery = Recovery(
            db, workers.content, gc, workers.runtime, lifecycle, specs, clock, boot_id, dumper
        )
        yield Agent(
            config,
            workers,
            services,
            collector,
            recovery,
            Restarter(db, lifecycle, processes, clock, boot_id),
            supervisor,
            figures,
            peer_service(config.peers, workers, puller),
        )


def _pace(config: Config) -> Pace:
    gc = config.gc
    return Pace(
        gc.pause_threshold, gc.deletion_threshold, gc.mutation_threshold, gc.schedule_delay, gc.startup_delay
    )


async def _open_streams(stack: AsyncExitStack, runtime: ConmonRuntime) -> StreamService:
    """Open the streams of clients, which processes can have as their stdio."""
    streams = StreamService()
    runtime.use_streams(await stack.enter_async_context(StreamPipes.open(streams)))
    return streams


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
