"""Checkpoints as images: made of running containers, restored as new ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import structlog
from attrs import define, evolve, field

from tricorn import limits
from tricorn.errors import AlreadyExists, InvalidArgument
from tricorn.failpoints import failpoint
from tricorn.fs.diffing import upper_directory
from tricorn.model import checkpoints, ids
from tricorn.model.checkpoints import (
    CheckpointRequest,
    CheckpointView,
    DumpOptions,
    RestorePlan,
    RestoreRequest,
)
from tricorn.model.oci import (
    INDEX_TYPES,
    OCI_INDEX,
    OCI_LAYER,
    Descriptor,
    Index,
    Platform,
    parse_image_document,
)
from tricorn.model.records import Container, Image, SnapshotKind
from tricorn.model.reference import Reference
from tricorn.model.requests import ContainerDesired, ContainerView
from tricorn.ports import BundleRef, FilesystemMount
from tricorn.rules import packed
from tricorn.rules.checkpoint_index import (
    Parts,
    command_in,
    default_name,
    id_maps_in,
    index_document,
    parts_of,
)
from tricorn.rules.runtime_names import shown_runtime
from tricorn.rules.user_namespaces import is_automatic, require_no_maps, require_same_owners, wanted_maps
from tricorn.service.catalog import Catalog, ResolvedImage
from tricorn.service.checkpoint_bases import CheckpointBases
from tricorn.service.diff import DiffService
from tricorn.service.dumps import Dumper, Taken
from tricorn.service.held_lease import held_lease
from tricorn.service.lifecycle import Lifecycle, created_of
from tricorn.service.made_content import ContentMaker
from tricorn.service.policy import PolicyGate
from tricorn.service.progress import Reporter
from tricorn.service.pull_wide import WidePuller
from tricorn.service.revival import Revival, Reviver
from tricorn.service.snapshots import SnapshotService
from tricorn.service.specs import SpecFactory
from tricorn.service.views import container_view
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)


@define
class _Made:
    """The parts of a checkpoint as they come to be."""

    base: Descriptor | None
    rw: Descriptor | None = None
    target: Descriptor | None = None
    parts: list[Descriptor] = field(factory=list)


class CheckpointService:
    def __init__(
        self, db: Database, content: ContentStore, lifecycle: Lifecycle, snapshots: SnapshotService,
        diff: DiffService, catalog: Catalog, wide: WidePuller, gate: PolicyGate, dumper: Dumper,
        reviver: Reviver, specs: SpecFactory, machine: Platform,
    ) -> None:  # fmt: skip
        self._db = db
        self._content = content
        self._lifecycle = lifecycle
        self._snapshots = snapshots
        self._diff = diff
        self._catalog = catalog
        self._gate = gate
        self._dumper = dumper
        self._reviver = reviver
        self._specs = specs
        self._machine = machine
        self.bases = CheckpointBases(db, snapshots, catalog, wide, machine)

    # ------------------------------------------------------------ checkpoint
    async def checkpoint(
        self, namespace: str, container_id: str, request: CheckpointRequest, report: Reporter
    ) -> CheckpointView:
        """Make an image of a running container: its memory, and as asked for its files and its image.

        AlreadyExists for a name that is taken, unless it is to be replaced; FailedPrecondition unless it
        runs, and with CRIU's words when it can't be dumped: it then runs on. Unimplemented, with the remedy,
        where nothing can be dumped.
        """
        name = str(Reference.parse(request.image, "image")) if request.image else ""
        name = name or default_name(container_id, self._db.clock.now())
        container, _ = await self._lifecycle.records(namespace, container_id)
        if not request.replace:
            await self._db.read(partial(_require_free, namespace, name))
        made = _Made(await self.bases.of_container(namespace, container) if request.base else None)
        options = _options(request)
        async with held_lease(self._db, namespace, "checkpoint") as lease:

            async def files(taken: Taken) -> None:
                if request.rw and taken.container.snapshot_key:
                    report.report("files", container_id)
                    made.rw = await self._changes(namespace, taken.container, lease)

            async def record(taken: Taken) -> None:
                report.report("record", name)
                await self._record(namespace, name, taken, options, made, lease, replace=request.replace)

            report.report("dump", container_id)
            taken = await self._dumper.take(
                namespace, container_id, options, lease=lease, while_frozen=files, record=record
            )
        assert made.target is not None, "it is on record"
        log.info(
            "checkpoint made", namespace=namespace, container=container_id, image=name,
            frozen_ms=round(taken.frozen * 1000),
        )  # fmt: skip
        size = sum(part.size for part in made.parts if part is not made.base)
        return CheckpointView(
            name, str(made.target.digest), container_id, container.image, size,
            round(taken.frozen * 1000), {part.media_type: str(part.digest) for part in made.parts},
        )  # fmt: skip

    async def _changes(self, namespace: str, container: Container, lease: str) -> Descriptor:
        """Return the layer of what a container changed in its file system."""
        snapshot = await self._snapshots.get(namespace, container.snapshotter, container.snapshot_key)
        parents = await self._snapshots.parents(namespace, container.snapshotter, snapshot.parent)
        backend = self._snapshots.backend(container.snapshotter)
        left = backend.mounts(parents[0], SnapshotKind.VIEW, parents) if parents else ()
        right = backend.mounts(snapshot.backend_id, snapshot.kind, parents)
        if not upper_directory(left, right):  # shown with other owners as a whole
            require_same_owners(container, "the changed files")
        media_type = f"{OCI_LAYER}+gzip"  # the one that containerd's restore looks for
        return await self._diff.diff(namespace, left, right, media_type=media_type, lease=lease)

    async def _record(
        self, namespace: str, name: str, taken: Taken, options: DumpOptions, made: _Made, lease: str,
        *, replace: bool,
    ) -> None:  # fmt: skip
        assert taken.dump is not None, "it is in the content store"
        assert taken.config is not None, "it is in the content store"
        maker = ContentMaker(self._content, namespace, lease)
        secret = {checkpoints.PRIVATE: "true"}
        told = await maker.document(checkpoints.OPTIONS, packed.checkpoint_options(options), secret)
        made.parts = [part for part in (made.base, taken.dump, taken.config, told, made.rw) if part]
        container = taken.container
        annotations = {
            checkpoints.REF_NAME: container.image, checkpoints.IMAGE_NAME: container.image,
            checkpoints.RUNTIME: shown_runtime(container), checkpoints.SNAPSHOTTER: container.snapshotter,
        }  # fmt: skip
        document = index_document(made.parts, self._machine, annotations)
        made.target = await maker.document(OCI_INDEX, document)
        image = Image(name, made.target, {checkpoints.LABEL: "true"})
        failpoint("checkpoint.indexed")

        def keep(tx: Transaction) -> None:
            if not replace:
                _require_free(namespace, name, tx)
            tx.images.put(namespace, image)

        await self._db.write(keep)

    # ------------------------------------------------------------ restore
    async def runtime(self, wanted: str) -> str:
        """Return the runtime to restore with where none is named: `wanted`, or else one that can."""
        return await self._reviver.runtime(wanted)

    async def restore(self, namespace: str, request: RestoreRequest, report: Reporter) -> ContainerView:
        """Make a container whose processes are those of a checkpoint, and let them go on.

        All but memory and files comes from `request.container`: the checkpoint gives it no label, device,
        mount or privilege, and no image a name. PermissionDenied, naming what is too much, for a dump of
        processes that were granted more; NotFound for the checkpoint, FailedPrecondition when its image
        isn't here or CRIU can't restore it. Nothing is left of a restore that fails.
        """
        ids.identifier(request.id, "container")
        self._lifecycle.cordon.require_open(f"container {request.id}")
        parts, image, desired = await self._wanted(namespace, request)
        async with self._lifecycle.locks.hold(namespace, request.id), AsyncExitStack() as stack:
            if await self._db.read(lambda tx: tx.containers.find(namespace, request.id)):
                raise AlreadyExists(f"container {request.id} exists already in namespace {namespace}")
            desired = await self._mapped(namespace, parts, desired, stack)
            if request.lazy:
                require_no_maps(desired)
            held = tuple(str(part.digest) for part in (parts.dump, parts.rw, parts.base) if part)
            await stack.enter_async_context(held_lease(self._db, namespace, "restore", content=held))
            report.report("restore", request.id)
            revival = Revival(
                partial(self._fill, namespace, parts.rw if request.rw else None),
                partial(self._check, parts.dump, request),
            )
            warnings = await self._lifecycle.create(
                namespace, request.id, desired, image, start=True, revival=revival
            )
            container, task = await self._lifecycle.records(namespace, request.id)
            ref = self._lifecycle.bundles.ref(namespace, container, task)
            await self._reviver.release(ref, created_of(task))
        log.info("checkpoint restored", namespace=namespace, image=request.image, container=request.id)
        return evolve(container_view(namespace, container, task, ref.log), warnings=warnings)

    async def _wanted(
        self, namespace: str, request: RestoreRequest
    ) -> tuple[Parts, ResolvedImage, ContainerDesired]:
        checkpoint = await self._catalog.find(namespace, request.image)
        parts = parts_of(await self._index(namespace, checkpoint.target))
        desired = request.container or ContainerDesired(image=parts.name)
        desired = evolve(
            desired, image=desired.image or parts.name, state="started", pull="never",
            runtime=desired.runtime or await self._reviver.runtime(await self._default_runtime(namespace)),
        )  # fmt: skip
        ids.labels(desired.labels)
        base = await self.bases.of_checkpoint(namespace, parts, desired)
        await self._gate.require_container(namespace, base, desired.image)
        image = await self.bases.unpacked(namespace, base, desired)
        return parts, image, await self._commanded(namespace, parts, image, desired)

    async def _commanded(
        self, namespace: str, parts: Parts, image: ResolvedImage, desired: ContainerDesired
    ) -> ContainerDesired:
        """Return the desired container with a command: the checkpoint's where nobody else names one."""
        named = desired.entrypoint or desired.args or image.config.entrypoint or image.config.cmd
        if named or parts.config is None:
            return desired
        config = await self._content.read(namespace, parts.config.digest, limit=limits.ENVIRONMENT_SIZE)
        return evolve(desired, args=command_in(config) or None)

    async def _mapped(
        self, namespace: str, parts: Parts, desired: ContainerDesired, held: AsyncExitStack
    ) -> ContainerDesired:
        """Return the request with the ids that the processes had where the agent is to choose them: CRIU
        makes the user namespace that they were in. `held` holds them until the container is on record.
        """
        if self._lifecycle.owners is None or not is_automatic(desired):
            return desired
        uids: tuple[str, ...] = ()
        if parts.config is not None:
            config = await self._content.read(namespace, parts.config.digest, limit=limits.ENVIRONMENT_SIZE)
            uids, gids = id_maps_in(config)
        if not uids:
            raise InvalidArgument(
                "the checkpoint doesn't tell of a user namespace of its processes",
                hint="leave out `--userns`, or name its ids by `--uidmap` and `--gidmap`",
                field="container.namespaces.user",
            )
        desired = evolve(desired, uid_map=uids, gid_map=gids)
        if maps := wanted_maps(desired):
            await held.enter_async_context(self._lifecycle.owners.regained(maps))
        return desired

    async def _default_runtime(self, namespace: str) -> str:
        return await self._specs.runtime_name(await self._snapshots.defaults.runtime(namespace))

    async def _index(self, namespace: str, target: Descriptor) -> Index:
        if target.media_type not in INDEX_TYPES:
            raise InvalidArgument(
                "the image is no checkpoint",
                why=f"it is {target.media_type}",
                hint="`tricorn checkpoint CONTAINER IMAGE` makes one, `tricorn run` takes other images",
            )
        data = await self._content.read(namespace, target.digest, limit=limits.MANIFEST_SIZE)
        document = parse_image_document(data, target.media_type)
        assert isinstance(document, Index), "its media type says so"
        return document

    async def _fill(self, namespace: str, rw: Descriptor | None, mounts: Sequence[FilesystemMount]) -> None:
        if rw is not None:
            await self._diff.apply(namespace, rw, mounts)

    async def _check(
        self, dump: Descriptor, request: RestoreRequest, ref: BundleRef, spec: bytes
    ) -> RestorePlan:
        await self._reviver.unpack(ref, dump, spec)
        options = DumpOptions(
            tcp_established=request.tcp_established, shell_job=request.shell_job,
            external_unix_sockets=request.external_unix_sockets, file_locks=request.file_locks,
        )  # fmt: skip
        return await self._reviver.plan(ref, options, lazy=request.lazy)


def _options(request: CheckpointRequest) -> DumpOptions:
    return DumpOptions(
        leave_running=request.leave_running, tcp_established=request.tcp_established,
        external_unix_sockets=request.external_unix_sockets, shell_job=request.shell_job,
        file_locks=request.file_locks, empty_namespaces=request.empty_namespaces,
        cgroups_mode=request.cgroups_mode,
    )  # fmt: skip


def _require_free(namespace: str, name: str, tx: Transaction) -> None:
    if tx.images.find(namespace, name):
        raise AlreadyExists(
            f"image {name} exists already in namespace {namespace}",
            hint="choose another name, or take it from that image: --replace (`replace`; in Ansible `force`)",
            field="image",
        )
