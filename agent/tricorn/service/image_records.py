"""Images as containerd's image service has them: names for descriptors, kept as the client gives them.

What the agent decides itself about an image (reference, platform, unpacking) is `ImageService`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.records import Image
from tricorn.rules.gc_labels import EXPIRE
from tricorn.rules.image_update import masked, valued
from tricorn.service.gc import GcService
from tricorn.service.policy import PolicyGate
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction


class ImageRecords:
    """`lease` is the lease that a call runs under, "" for none; `at` the time to record in place of now."""

    def __init__(self, db: Database, gc: GcService, gate: PolicyGate) -> None:
        self._db = db
        self._gc = gc
        self._gate = gate

    async def get(self, namespace: str, name: str) -> Image:
        """Return the image of exactly this name. NotFound."""
        return await self._db.look(lambda tx: tx.images.get(namespace, name))

    async def list(self, namespace: str, filters: Sequence[str] = ()) -> list[Image]:
        """Return the images that any filter (on `name`, `target.digest`, `target.mediatype`, `labels`,
        `annotations`) matches, by name.
        """
        return await self._db.read(lambda tx: tx.images.list(namespace, filters))

    async def create(
        self, namespace: str, image: Image, *, lease: str = "", at: datetime | None = None
    ) -> Image:
        """Record a new image. AlreadyExists; InvalidArgument without name, digest, size or media type;
        NotFound for the lease; as `PolicyGate.require`. Its target's content need not be there.
        """
        image = valued(image)
        await self._gate.require_all(namespace, [image])
        return await self._db.write(
            lambda tx: tx.images.create(namespace, image, lease=_keeping(image, lease), at=at)
        )

    async def update(
        self, namespace: str, image: Image, paths: Sequence[str] = (), *, lease: str = "",
        at: datetime | None = None,
    ) -> Image:  # fmt: skip
        """Change the fields that `paths` name (see `rules.image_update`). NotFound, InvalidArgument."""
        if not image.name:
            raise InvalidArgument("an image needs a name", field="image.name")
        await self._gate.require_all(namespace, [masked(await self.get(namespace, image.name), image, paths)])

        def change(tx: Transaction) -> Image:
            new = masked(tx.images.get(namespace, image.name), image, paths)
            return tx.images.replace(namespace, new, lease=_keeping(new, lease), at=at)

        return await self._db.write(change)

    async def delete(
        self, namespace: str, name: str, *, target: Digest | None = None, sync: bool = False, lease: str = ""
    ) -> None:
        """Remove the name, and from the lease; NotFound, also if it points to something other than `target`.

        With `sync`, what it kept is gone on return, unless something else keeps it.
        """

        def remove(tx: Transaction) -> None:
            tx.images.delete(namespace, name, target=target)
            tx.leases.release(namespace, lease, "images", name)

        await self._db.write(remove)
        if sync:
            await self._gc.collect()


def _keeping(image: Image, lease: str) -> str:
    """Return the lease if there is something for it to keep: only an image that expires needs one."""
    return lease if EXPIRE in image.labels else ""
