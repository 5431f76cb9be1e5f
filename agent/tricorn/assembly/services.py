"""The use cases, made of everything below them."""

from __future__ import annotations

import os

from tricorn.assembly.distribution import Distribution
from tricorn.assembly.migrations import make_migrations
from tricorn.assembly.running import Running
from tricorn.assembly.upkeep import Upkeep
from tricorn.assembly.workers import Workers
from tricorn.config import Config, UserNamespaceConfig
from tricorn.fs.copying import FileCopier
from tricorn.model.id_spans import parse_span
from tricorn.service import Services
from tricorn.service.archive_files import ArchiveFiles
from tricorn.service.checkpoint_imports import CheckpointImporter
from tricorn.service.checkpoints import CheckpointService
from tricorn.service.commit import CommitService
from tricorn.service.containers import ContainerService
from tricorn.service.content_access import BlobService
from tricorn.service.convert import Converter
from tricorn.service.copies import CopyService
from tricorn.service.diff import DiffService
from tricorn.service.image_care import ImageCare
from tricorn.service.image_records import ImageRecords
from tricorn.service.image_states import ImageStates
from tricorn.service.introspection import IntrospectionService
from tricorn.service.lease_states import LeaseStates
from tricorn.service.live_limits import LiveLimits
from tricorn.service.node import NodeService
from tricorn.service.node_order import NodeOrder
from tricorn.service.node_states import NodeStates
from tricorn.service.records import EventService, LeaseService, NamespaceService
from tricorn.service.referrers import ReferrerService
from tricorn.service.registries import RegistryService
from tricorn.service.sampling import SampleService
from tricorn.service.sandboxes import SandboxService
from tricorn.service.snapshot_layers import SnapshotLayers
from tricorn.service.snapshot_states import SnapshotStates
from tricorn.service.usage import UsageService
from tricorn.service.user_namespaces import IdSettings, UserNamespaces
from tricorn.service.waiting import WaitService


def make_services(
    config: Config, workers: Workers, images: Distribution, running: Running, upkeep: Upkeep
) -> Services:
    """Return all use cases, as both doors take them."""
    db, content, snapshots = workers.db, workers.content, workers.snapshots
    machine, lifecycle, transfer = workers.machine, running.lifecycle, images.transfer
    blobs = BlobService(db, content)
    diff = DiffService(content, workers.extractor, upkeep.differ, upkeep.mounts, snapshots)
    images.images.collector = upkeep.gc
    lifecycle.owners = user_namespaces(config.user_namespaces, workers, upkeep)
    checkpoints = CheckpointService(
        db, content, lifecycle, snapshots, diff, images.catalog, images.wide, images.gate,
        running.dumper, running.reviver, running.specs, machine,
    )  # fmt: skip
    containers = ContainerService(db, images.images, lifecycle, running.tasks)
    limits = containers.limits = LiveLimits(db, workers.runtime, lifecycle)
    namespaces = NamespaceService(db, snapshots.defaults)
    return Services(
        node=_node(config, workers, images, running, upkeep),
        namespaces=namespaces,
        images=images.images,
        image_states=ImageStates(db, images.catalog, images.images, images.puller, transfer),
        archive_files=ArchiveFiles(db, images.catalog, transfer, machine),
        lease_states=LeaseStates(db, workers.clock),
        containers=containers,
        limits=limits,
        node_order=NodeOrder(db, running.tasks, running.restarter),
        container_records=running.sandboxes.records,
        tasks=running.tasks,
        cordon=lifecycle.cordon,
        copies=CopyService(lifecycle, upkeep.mounts, FileCopier(workers.extractor)),
        node_states=NodeStates(db, namespaces, running.networks, images.images, containers),
        waiting=WaitService(db, lifecycle, running.health),
        samples=SampleService(db, workers.runtime, lifecycle, workers.clock),
        processes=running.processes,
        execs=running.kept_execs,
        health=running.health,
        content=blobs,
        image_records=ImageRecords(db, upkeep.gc, images.gate),
        snapshots=snapshots,
        snapshot_states=SnapshotStates(db, snapshots),
        diff=diff,
        commits=CommitService(db, content, snapshots, diff, running.tasks, images.wide, machine),
        converter=Converter(db, content, upkeep.repacker, images.gate),
        referrers=ReferrerService(
            db, content, images.catalog, images.puller, workers.registry, images.pusher, transfer
        ),
        image_care=ImageCare(db, content, images.catalog, machine),
        snapshot_layers=SnapshotLayers(db, snapshots, diff, blobs),
        mounts=upkeep.mounts,
        networks=running.networks,
        leases=LeaseService(db, workers.clock, upkeep.gc.collect),
        gc=upkeep.gc,
        events=EventService(db),
        operations=upkeep.operations,
        transfer=transfer,
        streams=upkeep.streams,
        sandboxes=SandboxService(db),
        sandbox_controller=running.sandboxes,
        registries=RegistryService(workers.registry.explain),
        scrub=upkeep.scrub,
        usage=UsageService(db, snapshots),
        introspection=IntrospectionService(
            config.root, machine, snapshots, workers.runtime, workers.environment
        ),
        policy=images.gate,
        dumper=running.dumper,
        checkpoints=checkpoints,
        migrations=make_migrations(config, workers, images, running, upkeep, checkpoints, diff),
        checkpoint_imports=CheckpointImporter(
            db, content, images.catalog, images.gate, machine, os.path.join(config.root, "dumps")
        ),
    )  # fmt: skip


def user_namespaces(config: UserNamespaceConfig, workers: Workers, upkeep: Upkeep) -> UserNamespaces:
    """Return what gives containers their ids."""
    span = parse_span(config.range, "user_namespaces.range")
    settings = IdSettings(span, config.size, config.user, shifted=config.layers == "shifted")
    return UserNamespaces(workers.db, workers.snapshots, upkeep.mounts, settings)


def _node(
    config: Config, workers: Workers, images: Distribution, running: Running, upkeep: Upkeep
) -> NodeService:
    sources = {
        "database": workers.db.statistics,
        "extractor": workers.extractor.statistics,
        "registry": workers.registry.statistics,
        "supervisor": running.statistics,
        **upkeep.statistics(),
        "policy": images.gate.statistics,
    }
    runtime = workers.runtime
    places = {"root": config.root, "state": config.state}
    node = NodeService(
        workers.db, runtime, workers.snapshots, places, workers.machine, str(runtime.cgroup_mode), sources,
        runtime,
    )  # fmt: skip
    node.facts["policy"] = images.gate.facts
    node.facts["cordon"] = running.lifecycle.cordon.facts
    return node
