"""Brings blobs in quarantine back from the registries that their labels name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

import structlog
from attrs import evolve

from tricorn.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    TricornError,
)
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_MANIFEST, Descriptor
from tricorn.model.records import ContentInfo
from tricorn.model.reference import Reference
from tricorn.ports import ContentStore, Registry
from tricorn.rules.chains import sources_in
from tricorn.store.db import Database

log = structlog.get_logger(__name__)
_BYTES: Final = "application/octet-stream"


class Refetcher:
    """Asks registries as pulls do, with the configuration's hosts and credentials."""

    def __init__(self, db: Database, content: ContentStore, registry: Registry) -> None:
        self._db = db
        self._content = content
        self._registry = registry

    async def fetch(self, digest: Digest) -> None:
        """Bring the blob; every namespace that missed it has it again then. FailedPrecondition if no label
        tells where it came from, else the error of the last place that was asked.
        """
        waiting = await self._db.read(lambda tx: tx.quarantine.waiting())
        failure: TricornError = FailedPrecondition(
            f"nobody knows where content {digest} came from",
            why="no namespace's record of it has a label containerd.io/distribution.source.HOST",
            hint="pull or import its image again",
        )
        for namespace, info, reference in _places(waiting.get(digest, ())):
            try:
                await self._bring(namespace, info, reference)
            except TricornError as error:
                failure = error
            else:
                log.info("content restored", digest=str(digest), source=reference.name)
                return
        raise failure

    async def _bring(self, namespace: str, info: ContentInfo, reference: Reference) -> None:
        """Try it as a blob, then as a manifest: registries keep these apart, and records don't."""
        descriptor = Descriptor(_BYTES, info.digest, info.size)
        try:
            await self._transfer(namespace, descriptor, reference)
        except NotFound:
            await self._transfer(namespace, evolve(descriptor, media_type=OCI_MANIFEST), reference)

    async def _transfer(self, namespace: str, descriptor: Descriptor, reference: Reference) -> None:
        ref, digest = f"restore-{descriptor.digest}", descriptor.digest
        try:
            async with self._content.writer(namespace, ref, total=descriptor.size, expected=digest) as writer:
                await self._registry.fetch(reference, descriptor, writer)
                await writer.commit(size=descriptor.size, expected=digest)
        except AlreadyExists:
            return  # a pull was faster
        except FailedPrecondition as error:
            await self._content.abort(namespace, ref)
            raise DataLoss(f"{reference.name} has other bytes for {digest}", why=str(error)) from None


def _places(
    records: Iterable[tuple[str, ContentInfo]],
) -> Iterator[tuple[str, ContentInfo, Reference]]:
    for namespace, info in records:
        for host, path in sources_in(info.labels):
            with suppress(InvalidArgument):  # labels are clients' words
                yield namespace, info, Reference.parse(f"{host}/{path}@{info.digest}")
