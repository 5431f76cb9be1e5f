"""Checkpoint archives of CRI's runtimes and Podman as images of our own, to restore like any other."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from attrs import frozen

from tricorn.errors import AlreadyExists, InvalidArgument, NotFound
from tricorn.model import checkpoints
from tricorn.model.checkpoints import DumpOptions, ImportedCheckpoint
from tricorn.model.oci import OCI_INDEX, Descriptor, Platform
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.rules import packed
from tricorn.rules.checkpoint_archive import (
    Origin,
    Part,
    checked_spec,
    origin_of,
    outside_mounts,
    shown_name,
)
from tricorn.rules.checkpoint_index import default_name, index_document
from tricorn.service.archive_source import ArchiveSource, Receive
from tricorn.service.catalog import Catalog
from tricorn.service.checkpoint_archive import Held, read_dump_archive, store_changes
from tricorn.service.held_lease import held_lease
from tricorn.service.made_content import ContentMaker
from tricorn.service.policy import PolicyGate
from tricorn.service.progress import Reporter
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)


@frozen
class CheckpointImport:
    """What to make of an archive. `image` names the checkpoint ("": after its container and the date),
    `base` the image to restore on ("": the one the archive names). `whole` takes that image along.
    """

    image: str = ""
    base: str = ""
    whole: bool = True


class CheckpointImporter:
    """`directory` takes what is put aside while an archive is read."""

    def __init__(
        self, db: Database, content: ContentStore, catalog: Catalog, gate: PolicyGate, machine: Platform,
        directory: str,
    ) -> None:  # fmt: skip
        self._db = db
        self._content = content
        self._catalog = catalog
        self._gate = gate
        self._machine = machine
        self._directory = directory

    async def load(
        self, namespace: str, receive: Receive, wanted: CheckpointImport, report: Reporter
    ) -> ImportedCheckpoint:
        """Read an archive to its end and make an image of it.

        Nothing in it is policy: labels, annotations, mounts and privileges of its container have no effect,
        and a restore compares the dump with what is asked for then. InvalidArgument for what is no
        checkpoint, holds more than files, or is of another image than is here under its name; NotFound when
        the image isn't here; AlreadyExists for a name that is taken; ResourceExhausted, Unimplemented.
        """
        name = str(Reference.parse(wanted.image, "image")) if wanted.image else ""
        held = Held()
        try:
            async with held_lease(self._db, namespace, "checkpoint-import") as lease:
                source = ArchiveSource(receive, report)
                dump = await read_dump_archive(self._content, namespace, lease, source, self._directory, held)
                origin = origin_of(held.documents[Part.CONFIG])
                spec = held.documents[Part.SPEC]
                mounts = outside_mounts(checked_spec(spec))
                base, target = await self._base(namespace, origin, wanted)
                report.report("files", origin.container)
                rw = await store_changes(self._content, namespace, lease, held)
                name = name or default_name(shown_name(origin.container), self._db.clock.now())
                image = await self._named(namespace, lease, name, base, (target, dump, rw), spec)
        finally:
            held.close()
        size = dump.size + (rw.size if rw else 0)
        log.info("checkpoint imported", namespace=namespace, image=name, size=size)
        return ImportedCheckpoint(
            name, str(image.target.digest), origin.container, base, size, mounts,
            tuple(sorted(held.warnings)),
        )  # fmt: skip

    async def _base(
        self, namespace: str, origin: Origin, wanted: CheckpointImport
    ) -> tuple[str, Descriptor | None]:
        """Return the name of the image to restore on, and with `whole` what it stands for."""
        name = wanted.base or origin.image
        if not name:
            raise InvalidArgument(
                "the archive names no image", hint="say which: `--base IMAGE`", field="base"
            )
        name = str(Reference.parse(name, "base"))
        image = await self._db.read(lambda tx: tx.images.find(namespace, name))
        if image is None and not wanted.whole:
            return name, None
        if image is None:
            raise NotFound(
                f"image {name} does not exist in namespace {namespace}",
                why="the container of this checkpoint was made from it",
                hint=f"`tricorn -n {namespace} image pull {name}` brings it; or name another: `--base IMAGE`",
            )
        if origin.digest and not wanted.base:
            found = await self._catalog.resolve(namespace, image, self._machine)
            known = {image.target.digest, found.descriptor.digest, found.manifest.config.digest}
            if origin.digest not in map(str, known):
                raise InvalidArgument(
                    f"the checkpoint was made of another image than {name}",
                    why=f"it is {origin.digest}, not {image.target.digest}",
                    hint="pull the right one, or say `--base IMAGE`", field="base",
                )  # fmt: skip
        return name, image.target if wanted.whole else None

    async def _named(
        self, namespace: str, lease: str, name: str, base: str, parts: Sequence[Descriptor | None],
        spec: bytes,
    ) -> Image:  # fmt: skip
        maker = ContentMaker(self._content, namespace, lease)
        secret = {checkpoints.PRIVATE: "true"}
        config = await maker.document(checkpoints.CONFIG, packed.any_of(packed.OCI_SPEC, spec), secret)
        options = packed.checkpoint_options(DumpOptions())
        told = await maker.document(checkpoints.OPTIONS, options, secret)
        notes = {checkpoints.REF_NAME: base, checkpoints.IMAGE_NAME: base}
        found = [part for part in (*parts, config, told) if part]
        document = index_document(found, self._machine, notes)
        made = Image(name, await maker.document(OCI_INDEX, document), {checkpoints.LABEL: "true"})
        await self._gate.require_all(namespace, [made])

        def keep(tx: Transaction) -> None:
            if tx.images.find(namespace, name):
                raise AlreadyExists(f"image {name} exists already in namespace {namespace}", field="image")
            tx.images.put(namespace, made)

        await self._db.write(keep)
        return made
