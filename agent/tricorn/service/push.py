"""Push: an image's blobs go to a registry side by side, then its documents, the leaves first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import structlog
import trio
from attrs import frozen

from tricorn.errors import NotFound
from tricorn.model.oci import Descriptor, Platform
from tricorn.model.records import ContentInfo
from tricorn.model.reference import Reference
from tricorn.ports import DEFAULT_WAY, Auth, ContentStore, Push, PushOutcome, Referrals, Registry, RegistryWay
from tricorn.rules.chains import nondistributable, sources_of
from tricorn.rules.referrers import as_referrer, subject_of
from tricorn.service.image_tree import Node, only, walk
from tricorn.service.nurseries import typed_nursery
from tricorn.store.db import Database

log = structlog.get_logger(__name__)


@frozen
class PushRequest:
    """What to push where. No `platforms`: all that the image's index names."""

    namespace: str
    target: Descriptor
    reference: Reference
    platforms: Sequence[Platform] = ()
    auth: Auth | None = None
    plain_http: bool = False
    way: RegistryWay = DEFAULT_WAY


class PushWatcher:
    """What a push tells of itself; the base class listens to nothing."""

    def known(self, descriptor: Descriptor, parent: Descriptor | None) -> None:
        """`descriptor` will be pushed; `parent` names it."""

    def sent(self, descriptor: Descriptor, offset: int) -> None:
        """So many of its bytes are there."""

    def done(self, descriptor: Descriptor, outcome: PushOutcome) -> None:
        """It is there."""


class Pusher:
    """Pushes images out of the content store; at most `uploads` blobs at a time over all pushes."""

    def __init__(
        self, db: Database, content: ContentStore, registry: Registry, uploads: int, referrals: Referrals
    ) -> None:
        self._referrals = referrals
        self._db = db
        self._content = content
        self._registry = registry
        self._uploads = trio.CapacityLimiter(uploads)

    async def push(self, request: PushRequest, watcher: PushWatcher | None = None) -> None:
        """Push `request.target` under the reference's tag, or by digest where it has none.

        Raises NotFound for content that isn't here, before anything is sent, and the errors of the registry.
        Layers that may not be distributed stay away, as their licences want it.
        """
        watcher = watcher or PushWatcher()
        nodes = await walk(self._content, request.namespace, request.target, only(request.platforms))
        blobs = await self._blobs(request.namespace, nodes)
        for node in reversed(nodes):
            watcher.known(node.descriptor, node.parents[-1] if node.parents else None)
            for blob in node.blobs:
                watcher.known(blob, node.descriptor)
        to = await self._registry.push(
            request.reference, auth=request.auth, plain_http=request.plain_http, way=request.way
        )
        async with typed_nursery() as nursery:
            for info, blob in blobs:
                nursery.start_soon(self._blob, to, request.reference, info, blob, watcher)
        for node in nodes:
            name = request.reference.tag if node.descriptor.digest == request.target.digest else ""
            watcher.done(node.descriptor, await to.manifest(node.descriptor, node.data, name))
            await self._refer(request, node)
        log.info("image pushed", namespace=request.namespace, reference=str(request.reference))

    async def _refer(self, request: PushRequest, node: Node) -> None:
        """Let the registry tell of an artifact when it is asked for what refers to its subject."""
        subject = subject_of(node.data)
        if subject is not None:
            await self._referrals.refer(
                request.reference, subject.digest, as_referrer(node.data, node.descriptor),
                auth=request.auth, plain_http=request.plain_http, way=request.way,
            )  # fmt: skip

    async def _blobs(self, namespace: str, nodes: Sequence[Node]) -> list[tuple[ContentInfo, Descriptor]]:
        """Return the blobs to push, each once; NotFound naming the first that isn't here."""
        wanted = {blob.digest: blob for node in nodes for blob in node.blobs if not nondistributable(blob)}
        found = await self._db.read(
            lambda tx: {digest: tx.content.find(namespace, digest) for digest in wanted}
        )
        pairs = []
        for digest, blob in wanted.items():
            info = found[digest]
            if info is None:
                raise NotFound(
                    f"content {digest} is missing",
                    why="the image isn't here for all its platforms",
                    hint="name the platform that is here, or pull the image for all of them",
                )
            pairs.append((info, blob))
        return pairs

    async def _blob(
        self, to: Push, reference: Reference, info: ContentInfo, blob: Descriptor, watcher: PushWatcher
    ) -> None:
        async with self._uploads:
            outcome = await to.blob(
                blob,
                self._content.blob_path(blob.digest),
                mounts=sources_of(info.labels, reference)[:1],
                sent=partial(watcher.sent, blob),
            )
        watcher.done(blob, outcome)
