"""Content that the agent makes itself: documents, and layers that come out of a child."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import uuid4

import structlog
import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import AlreadyExists, NotFound, TricornError
from tricorn.failpoints import failpoint
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.ports import Diffing, DiffResult
from tricorn.service.pull import kept_children
from tricorn.store.content import ContentStore

log = structlog.get_logger(__name__)
UNCOMPRESSED = "containerd.io/uncompressed"


@frozen
class MadeLayer:
    digest: Digest
    size: int
    result: DiffResult


class ContentMaker:
    """Writes into the content store of a namespace, under the lease of a piece of work."""

    def __init__(self, content: ContentStore, namespace: str, lease: str) -> None:
        self._content = content
        self._namespace = namespace
        self._lease = lease

    async def document(
        self, media_type: str, data: bytes, labels: Mapping[str, str] | None = None
    ) -> Descriptor:
        """Store a manifest, an index or a config, with labels that keep what it names."""
        made = Descriptor(media_type, Digest.of(data), len(data))
        wanted = {**kept_children(made, data), **(labels or {})}
        try:
            async with self._content.writer(
                self._namespace, f"document-{uuid4().hex}", total=len(data), expected=made.digest,
                lease=self._lease,
            ) as writer:  # fmt: skip
                await writer.write(data)
                await writer.commit(size=len(data), expected=made.digest, labels=wanted)
        except AlreadyExists:
            await self._complete(made.digest, wanted)
        return made

    async def layer(
        self, running: Diffing, *, packed: bool, progress: Callable[[int], None] = lambda _: None
    ) -> MadeLayer:
        """Store the layer that a child makes. Raises what the child met; nothing is left of it then."""
        ref = f"layer-{uuid4().hex}"
        try:
            async with self._content.writer(self._namespace, ref, lease=self._lease) as writer:
                while data := await running.read():
                    await writer.write(data)
                    progress(writer.offset)
                result = await running.finish()
                failpoint("made.layer")
                made = MadeLayer(writer.digest, writer.offset, result)
                labels = {UNCOMPRESSED: str(result.diff_id)} if packed else {}
                try:
                    await writer.commit(size=made.size, labels=labels)
                except AlreadyExists:
                    await self._complete(made.digest, labels)
        except BaseException:
            await self._abort(ref)
            raise
        return made

    async def _complete(self, digest: Digest, labels: Mapping[str, str]) -> None:
        """Give content that was there already the labels it lacks."""
        known = (await self._content.info(self._namespace, digest)).labels
        missing = {key: value for key, value in labels.items() if key not in known}
        if missing:
            await self._content.update_labels(self._namespace, digest, missing)

    async def _abort(self, ref: str) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            try:
                await self._content.abort(self._namespace, ref)
            except NotFound:
                pass
            except TricornError as error:
                log.warning("unfinished layer left to expire", ref=ref, error=error.one_line())
