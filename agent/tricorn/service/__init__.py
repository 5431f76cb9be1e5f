"""The use cases of the agent, one coroutine each: the only place where the workers meet."""

from __future__ import annotations

from attrs import frozen

from tricorn.service.archive_files import ArchiveFiles
from tricorn.service.checkpoint_imports import CheckpointImporter
from tricorn.service.checkpoints import CheckpointService
from tricorn.service.commit import CommitService
from tricorn.service.container_records import ContainerRecords
from tricorn.service.containers import ContainerService
from tricorn.service.content_access import BlobService
from tricorn.service.convert import Converter
from tricorn.service.copies import CopyService
from tricorn.service.cordon import Cordon
from tricorn.service.diff import DiffService
from tricorn.service.dumps import Dumper
from tricorn.service.gc import GcService
from tricorn.service.health import HealthService
from tricorn.service.image_care import ImageCare
from tricorn.service.image_records import ImageRecords
from tricorn.service.image_states import ImageStates
from tricorn.service.images import ImageService
from tricorn.service.introspection import IntrospectionService
from tricorn.service.kept_execs import ExecService
from tricorn.service.lease_states import LeaseStates
from tricorn.service.live_limits import LiveLimits
from tricorn.service.migrations import MigrationService
from tricorn.service.mounts import MountService
from tricorn.service.networks import NetworkService
from tricorn.service.node import NodeService
from tricorn.service.node_order import NodeOrder
from tricorn.service.node_states import NodeStates
from tricorn.service.operations import Operation, OperationService
from tricorn.service.policy import PolicyGate
from tricorn.service.processes import ProcessService
from tricorn.service.progress import Reporter
from tricorn.service.records import (
    EventPage,
    EventService,
    LeaseService,
    Lost,
    NamespaceService,
)
from tricorn.service.referrers import ReferrerService
from tricorn.service.registries import RegistryService
from tricorn.service.sampling import SampleService
from tricorn.service.sandbox_controller import SandboxController
from tricorn.service.sandboxes import SandboxService
from tricorn.service.scrub import ScrubService
from tricorn.service.snapshot_layers import SnapshotLayers
from tricorn.service.snapshot_states import SnapshotStates
from tricorn.service.snapshots import SnapshotService
from tricorn.service.streams import StreamService
from tricorn.service.tasks import TaskService
from tricorn.service.transfer import TransferService
from tricorn.service.usage import UsageService
from tricorn.service.waiting import WaitService


@frozen
class Services:
    """What the doors call."""

    node: NodeService
    namespaces: NamespaceService
    images: ImageService
    image_states: ImageStates
    archive_files: ArchiveFiles
    lease_states: LeaseStates
    containers: ContainerService
    container_records: ContainerRecords
    tasks: TaskService
    copies: CopyService
    cordon: Cordon
    node_states: NodeStates
    samples: SampleService
    waiting: WaitService
    limits: LiveLimits
    node_order: NodeOrder
    processes: ProcessService
    execs: ExecService
    health: HealthService
    content: BlobService
    image_records: ImageRecords
    snapshots: SnapshotService
    snapshot_states: SnapshotStates
    diff: DiffService
    commits: CommitService
    converter: Converter
    referrers: ReferrerService
    image_care: ImageCare
    snapshot_layers: SnapshotLayers
    mounts: MountService
    networks: NetworkService
    leases: LeaseService
    gc: GcService
    events: EventService
    operations: OperationService
    transfer: TransferService
    streams: StreamService
    sandboxes: SandboxService
    sandbox_controller: SandboxController
    introspection: IntrospectionService
    policy: PolicyGate
    dumper: Dumper
    checkpoints: CheckpointService
    migrations: MigrationService
    checkpoint_imports: CheckpointImporter
    registries: RegistryService
    scrub: ScrubService
    usage: UsageService


__all__ = ["EventPage", "Lost", "Operation", "Reporter", "Services"]
