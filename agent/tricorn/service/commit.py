"""Commit: what a container changed becomes a layer, and the layer on its image a new image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from attrs import frozen

from tricorn.errors import Aborted, FailedPrecondition
from tricorn.failpoints import failpoint
from tricorn.model.ids import Digest
from tricorn.model.image_requests import CommitResult, ContainerCommit
from tricorn.model.oci import OCI_CONFIG, OCI_MANIFEST, Descriptor, Platform, parse_image_config
from tricorn.model.records import Container, Image, Snapshot, SnapshotKind
from tricorn.model.reference import Reference
from tricorn.ports import FilesystemMount
from tricorn.rules import committed_image
from tricorn.rules.chains import nondistributable
from tricorn.rules.committed_image import Added
from tricorn.rules.image_changes import with_changes
from tricorn.rules.user_namespaces import require_same_owners
from tricorn.service.archives import NothingElse
from tricorn.service.base_images import BaseImage, BaseImages
from tricorn.service.diff import DiffService
from tricorn.service.held_lease import held_lease
from tricorn.service.layers import PullRequest
from tricorn.service.locks import KeyedLock
from tricorn.service.made_content import UNCOMPRESSED, ContentMaker
from tricorn.service.progress import Reporter
from tricorn.service.pull_wide import Unpack, Wide, WidePuller
from tricorn.service.snapshot_layers import LAYER_TYPES
from tricorn.service.snapshots import SnapshotService
from tricorn.service.still_container import held_still
from tricorn.service.tasks import TaskService
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)


@frozen
class _Standing:
    """A container with its snapshot; `below` are the snapshots under it, nearest first."""

    container: Container
    snapshot: Snapshot
    below: Sequence[Snapshot]


class CommitService:
    def __init__(
        self, db: Database, content: ContentStore, snapshots: SnapshotService, diff: DiffService,
        tasks: TaskService, wide: WidePuller, machine: Platform,
    ) -> None:  # fmt: skip
        self._db = db
        self._content = content
        self._snapshots = snapshots
        self._diff = diff
        self._tasks = tasks
        self._wide = wide
        self._machine = machine
        self._bases = BaseImages(db, content)
        self._locks = KeyedLock()

    async def commit(
        self, namespace: str, container_id: str, request: ContainerCommit, report: Reporter
    ) -> CommitResult:
        """Make an image of a container, whether it runs or not, and name it; a name that is taken is moved.

        With a timestamp, the same files give the same digest. NotFound for the container,
        FailedPrecondition without a snapshot of its own or without its image's content, InvalidArgument for
        a change, Aborted when the container is removed meanwhile. Nothing is left of a commit that fails.
        """
        name = str(Reference.parse(request.reference, "reference"))
        with_changes({}, request.changes)  # before the work: a word that isn't understood
        async with self._locks.hold(namespace, container_id):
            standing = await self._standing(namespace, container_id)
            below = [snapshot.key for snapshot in standing.below]
            base = await self._bases.of(namespace, standing.container, below) if below else None
            held = await self._base_content(namespace, base)
            async with held_lease(self._db, namespace, "commit", content=held) as lease:
                report.report("commit", container_id)
                layer, diff_id = await self._layer(namespace, standing, base, request, lease)
                target = await self._documents(namespace, standing, base, request, lease, layer, diff_id)
                failpoint("commit.made")
                image = Image(name, target)
                await self._record(namespace, standing, image, request, lease, report)
        log.info("container committed", namespace=namespace, container=container_id, image=name)
        made = layer if diff_id else None
        return CommitResult(
            name, str(target.digest), str(made.digest) if made else "", made.size if made else 0
        )

    # ------------------------------------------------------------ what there is
    async def _standing(self, namespace: str, container_id: str) -> _Standing:
        def read(tx: Transaction) -> _Standing:
            container = tx.containers.get(namespace, container_id)
            if not container.snapshot_key:
                raise FailedPrecondition(
                    f"container {container_id} cannot be committed",
                    why="it has no snapshot: whoever made it gave it a root file system",
                )
            name = container.snapshotter
            snapshot = tx.snapshots.get(namespace, name, container.snapshot_key)
            require_same_owners(container, "the changed files", snapshot)
            below, key = [], snapshot.parent
            while key:
                below.append(tx.snapshots.get(namespace, name, key))
                key = below[-1].parent
            return _Standing(container, snapshot, below)

        return await self._db.read(read)

    async def _base_content(self, namespace: str, base: BaseImage | None) -> tuple[str, ...]:
        """Return the digests of what the new image will share with its base; all of it must be here."""
        if base is None:
            return ()
        wanted = [layer.digest for layer in base.manifest.layers if not nondistributable(layer)]
        missing = await self._db.read(
            lambda tx: [digest for digest in wanted if tx.content.find(namespace, digest) is None]
        )
        if missing:
            raise FailedPrecondition(
                f"content {missing[0]} of the container's image is missing",
                why=f"{len(missing)} of {len(wanted)} layers are not here",
                hint="pull the image again with `--always`",
            )
        return tuple(map(str, wanted))

    # ------------------------------------------------------------ the layer
    async def _layer(
        self,
        namespace: str,
        standing: _Standing,
        base: BaseImage | None,
        request: ContainerCommit,
        lease: str,
    ) -> tuple[Descriptor, Digest | None]:
        """Return the layer and its diff id; None for a layer in which nothing is."""
        container, snapshot = standing.container, standing.snapshot
        left = self._mounts_below(standing, base)
        right = await self._right(namespace, standing)
        epoch = None if request.timestamp is None else int(request.timestamp.timestamp())
        media_type = LAYER_TYPES[request.compression]
        if request.pause:
            async with held_still(self._db, self._tasks, namespace, container.id):
                layer = await self._diff.diff(
                    namespace, left, right, media_type=media_type, lease=lease, epoch=epoch
                )
        else:
            layer = await self._diff.diff(
                namespace, left, right, media_type=media_type, lease=lease, epoch=epoch
            )
        await self._check_whole(namespace, snapshot)
        labels = (await self._content.info(namespace, layer.digest)).labels
        diff_id = Digest.parse(labels[UNCOMPRESSED]) if request.compression != "none" else layer.digest
        return layer, None if diff_id == committed_image.EMPTY_LAYER else diff_id

    def _mounts_below(self, standing: _Standing, base: BaseImage | None) -> tuple[FilesystemMount, ...]:
        """Return the mounts of the base image's tree: those a view of it would have."""
        if base is None:
            return ()
        parents = tuple(each.backend_id for each in standing.below[base.above :])
        backend = self._snapshots.backend(standing.snapshot.snapshotter)
        return backend.mounts(parents[0], SnapshotKind.VIEW, parents)

    async def _right(self, namespace: str, standing: _Standing) -> tuple[FilesystemMount, ...]:
        snapshot = standing.snapshot
        return await self._snapshots.mounts(namespace, snapshot.snapshotter, snapshot.key)

    async def _check_whole(self, namespace: str, snapshot: Snapshot) -> None:
        """What was read is whole if the snapshot is still there: its files go after its record."""
        now = await self._db.read(lambda tx: tx.snapshots.find(namespace, snapshot.snapshotter, snapshot.key))
        if now is None or now.backend_id != snapshot.backend_id:
            raise Aborted("the container was removed while it was committed")

    # ------------------------------------------------------------ the image
    async def _documents(
        self, namespace: str, standing: _Standing, base: BaseImage | None, request: ContainerCommit,
        lease: str, layer: Descriptor, diff_id: Digest | None,
    ) -> Descriptor:  # fmt: skip
        added = Added(
            created=request.timestamp or self._db.clock.now(),
            created_by=_program(standing.container),
            author=request.author,
            message=request.message,
            changes=request.changes,
            diff_id=diff_id,
        )
        raw = base.config if base else committed_image.empty_config(self._machine)
        data = committed_image.committed_config(raw, added)
        parse_image_config(data)
        make = ContentMaker(self._content, namespace, lease)
        config = await make.document(OCI_CONFIG, data)
        manifest = committed_image.committed_manifest(
            base.manifest if base else None, config, layer if diff_id else None
        )
        return await make.document(OCI_MANIFEST, manifest)

    async def _record(
        self, namespace: str, standing: _Standing, image: Image, request: ContainerCommit, lease: str,
        report: Reporter,
    ) -> None:  # fmt: skip
        """Unpack the image and name it, in one transaction."""
        pull = PullRequest(
            namespace, Reference.parse(image.name), self._machine, "", source=NothingElse(), lease=lease
        )
        unpacks = [Unpack(self._machine, standing.snapshot.snapshotter)] if request.unpack else []
        await self._wide.pull(Wide(pull, (), unpacks, lambda _: [image]), image.target, report)


def _program(container: Container) -> str:
    """Return what the container ran, for the image's history; "" if its spec doesn't tell."""
    try:
        spec: Any = msgspec.json.decode(container.spec)
        return " ".join(map(str, spec["process"]["args"]))[:1000]
    except (ValueError, LookupError, TypeError):
        return ""
