"""The images below checkpoints: found for one that is made, unpacked for one that is restored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from attrs import evolve

from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound
from tricorn.model.oci import Descriptor, Platform
from tricorn.model.records import Container, Image
from tricorn.model.reference import Reference
from tricorn.model.requests import ContainerDesired
from tricorn.rules.checkpoint_index import Parts
from tricorn.service.archives import NothingElse
from tricorn.service.catalog import Catalog, ResolvedImage
from tricorn.service.held_lease import held_lease
from tricorn.service.layers import PullRequest
from tricorn.service.progress import Reporter
from tricorn.service.pull_wide import Unpack, Wide, WidePuller
from tricorn.service.snapshots import SnapshotService
from tricorn.store.db import Database


class CheckpointBases:
    def __init__(
        self, db: Database, snapshots: SnapshotService, catalog: Catalog, wide: WidePuller, machine: Platform
    ) -> None:
        self._db = db
        self._snapshots = snapshots
        self._catalog = catalog
        self._wide = wide
        self._machine = machine

    async def of_container(self, namespace: str, container: Container) -> Descriptor | None:
        """Return the image that a container was made from, None if its name stands for another one now."""
        image = await self._db.read(lambda tx: tx.images.find(namespace, container.image))
        if image and container.image_digest in ("", str(image.target.digest)):
            return image.target
        raise FailedPrecondition(
            f"the image of container {container.id} is not here any more",
            why=f"{container.image or 'it'} is gone, or stands for another image",
            hint="leave the image out of the checkpoint (`--no-image`), or pull it again",
        )

    async def of_checkpoint(self, namespace: str, parts: Parts, desired: ContainerDesired) -> Image:
        """Return the image to restore on: by the digest in the checkpoint, whatever a name stands for now."""
        name = str(Reference.parse(desired.image, "container.image"))
        named = await self._db.read(lambda tx: tx.images.find(namespace, name))
        if parts.base is None:
            if named is None:
                raise NotFound(
                    f"image {name} does not exist in namespace {namespace}",
                    why="the checkpoint holds no image of its own",
                    hint=f"`tricorn -n {namespace} image pull {name}` brings it",
                )
            return named
        if named and desired.image != parts.name and named.target.digest != parts.base.digest:
            raise InvalidArgument(
                f"the checkpoint was made of another image than {name}",
                why=f"it is {parts.base.digest}, not {named.target.digest}", field="container.image",
            )  # fmt: skip
        return Image(name, evolve(parts.base, platform=None))

    async def unpacked(self, namespace: str, base: Image, desired: ContainerDesired) -> ResolvedImage:
        """Return the image, unpacked; no name is written for it."""
        snapshotter = desired.snapshotter or await self._snapshots.default_in(namespace)
        resolve = partial(self._catalog.resolve, namespace, base, self._machine, snapshotter)
        found = await resolve()
        if found.unpacked:
            return found
        if found.missing:
            raise FailedPrecondition(
                f"the image of the checkpoint is not complete: {found.missing[0]} is missing",
                hint=f"`tricorn -n {namespace} image pull {base.name}@{base.target.digest}` brings it",
            )
        async with held_lease(self._db, namespace, "restore", content=(str(base.target.digest),)) as lease:
            pull = PullRequest(
                namespace, Reference.parse(base.name), self._machine, "", source=NothingElse(), lease=lease
            )
            unpack = Unpack(self._machine, snapshotter)
            wide = Wide(pull, (self._machine,), [unpack], _no_names)
            await self._wide.pull(wide, base.target, Reporter())
            return await resolve()


def _no_names(_: Descriptor) -> Sequence[Image]:
    return ()
