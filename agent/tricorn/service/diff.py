"""Layers onto snapshots and out of them, for clients that unpack and commit by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

import structlog
import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    TricornError,
    Unimplemented,
)
from tricorn.failpoints import failpoint
from tricorn.fs import metadata
from tricorn.fs.diffing import takes_a_mount
from tricorn.fs.durability import sync_filesystem
from tricorn.fs.mounts import split_lowers
from tricorn.fs.readonly_trees import upper_of
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_LAYER, Descriptor, layer_compression
from tricorn.ports import DiffResult, Extractor, FilesystemMount, LayerDiffer, WhiteoutFormat
from tricorn.service.mounts import MountService
from tricorn.service.snapshots import SnapshotService
from tricorn.store.content import ContentStore
from tricorn.store.content_writer import IngestWriter

log = structlog.get_logger(__name__)

_UNCOMPRESSED: Final = "containerd.io/uncompressed"
_DEFAULT: Final = f"{OCI_LAYER}+gzip"
_LIMITER: Final = trio.CapacityLimiter(2)


@frozen
class _Target:
    """A directory to apply a layer to; `lowers` are the directories below it, where it is overlay's."""

    path: str
    form: WhiteoutFormat = "apply"
    lowers: tuple[str, ...] = ()


class DiffService:
    def __init__(
        self,
        content: ContentStore,
        extractor: Extractor,
        differ: LayerDiffer,
        mounts: MountService,
        snapshots: SnapshotService,
    ) -> None:
        self._content = content
        self._extractor = extractor
        self._differ = differ
        self._mounts = mounts
        self._snapshots = snapshots

    # ------------------------------------------------------------ apply
    async def apply(
        self, namespace: str, layer: Descriptor, mounts: Sequence[FilesystemMount], *, sync: bool = False
    ) -> Descriptor:
        """Apply a blob of the namespace to what the mounts show; return the uncompressed layer's descriptor.

        `sync` flushes the files to disk. NotFound for the blob; Unimplemented for a media type that is no
        layer; InvalidArgument for a malformed layer, naming the entry; ResourceExhausted.
        """
        compression = _compression(layer.media_type)
        info = await self._content.info(namespace, layer.digest)
        async with self._target(mounts) as target:
            source = self._content.blob_path(info.digest)
            async with self._extractor.start(
                source, target.path, compression, target.form, size=info.size
            ) as extraction:
                result = await extraction.finish(info.size)
            failpoint("diff.applied")
            if target.form == "overlay" and result.implied:
                await self._adopt(target, result.implied)
            if sync:
                await sync_filesystem(target.path)
        for warning in result.warnings:
            log.warning("layer applied with a difference", digest=str(info.digest), warning=warning)
        return Descriptor(OCI_LAYER, result.diff_id, result.size)

    async def _adopt(self, target: _Target, implied: Sequence[str]) -> None:
        """Give directories without an entry the metadata they have in the layers below."""
        if target.lowers:
            await trio.to_thread.run_sync(
                metadata.adopt, target.path, target.lowers, implied, limiter=_LIMITER
            )
        else:  # what is below comes with the commit
            self._snapshots.note_implied(target.path, implied)

    @asynccontextmanager
    async def _target(self, mounts: Sequence[FilesystemMount]) -> AsyncIterator[_Target]:
        if not mounts:
            raise InvalidArgument("nothing to apply the layer to", why="there are no mounts", field="mounts")
        if any("ro" in item.options for item in mounts):
            raise FailedPrecondition("the layer cannot be applied", why="a mount is read-only")
        first = mounts[0]
        if len(mounts) == 1 and first.type == "bind":
            yield _Target(first.source)
            return
        if len(mounts) == 1 and first.type == "overlay" and "userxattr" not in first.options:
            lowers, rest = split_lowers(first.options)
            if upper := upper_of(rest):
                yield _Target(upper[0], "overlay", tuple(lowers))
                return
        async with self._mounts.temporary(mounts) as path:
            yield _Target(path)

    # ------------------------------------------------------------ diff
    async def diff(
        self, namespace: str, left: Sequence[FilesystemMount], right: Sequence[FilesystemMount], *,
        media_type: str = "", ref: str = "", labels: Mapping[str, str] | None = None, lease: str = "",
        epoch: int | None = None,
    ) -> Descriptor:  # fmt: skip
        """Make the layer that turns `left` into `right` and store it as a blob; return its descriptor.

        The layer depends on the trees only: the same give the same bytes. `epoch`, in seconds,
        bounds all times.
        `ref` names the ingest, which must have no other writer (Unavailable). Unimplemented for a media
        type that is no layer. Nothing is left of a diff that fails.
        """
        media_type = media_type or _DEFAULT
        compression = _compression(media_type)
        ref = ref or f"diff-{uuid4().hex}"
        try:
            async with self._content.writer(namespace, ref, lease=lease) as writer:
                result = await self._make(writer, left, right, compression, epoch)
                failpoint("diff.made")
                digest, size = writer.digest, writer.offset
                wanted = {**(labels or {}), **({_UNCOMPRESSED: result.diff_id} if compression else {})}
                try:
                    await writer.commit(size=size, labels=wanted)
                except AlreadyExists:
                    await self._complete_labels(namespace, digest, wanted)
        except BaseException:
            await self._abort(namespace, ref)
            raise
        for warning in result.warnings:
            log.warning("layer made with a difference", digest=str(digest), warning=warning)
        return Descriptor(media_type, digest, size)

    async def _make(
        self, writer: IngestWriter, left: Sequence[FilesystemMount], right: Sequence[FilesystemMount],
        compression: str, epoch: int | None,
    ) -> DiffResult:  # fmt: skip
        try:
            return await self._write(writer, left, right, compression, epoch, whole=False)
        except FailedPrecondition as error:
            if not takes_a_mount(error):
                raise
        return await self._write(writer, left, right, compression, epoch, whole=True)

    async def _write(
        self, writer: IngestWriter, left: Sequence[FilesystemMount], right: Sequence[FilesystemMount],
        compression: str, epoch: int | None, *, whole: bool,
    ) -> DiffResult:  # fmt: skip
        if writer.offset:
            await writer.truncate()
        async with self._differ.start(left, right, compression, epoch=epoch, whole=whole) as running:
            while data := await running.read():
                await writer.write(data)
            return await running.finish()

    async def _complete_labels(self, namespace: str, digest: Digest, labels: Mapping[str, str]) -> None:
        """Give a blob that was there already the labels it lacks."""
        known = (await self._content.info(namespace, digest)).labels
        missing = {key: value for key, value in labels.items() if key not in known}
        if missing:
            await self._content.update_labels(namespace, digest, missing)

    async def _abort(self, namespace: str, ref: str) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            try:
                await self._content.abort(namespace, ref)
            except NotFound:
                pass
            except TricornError as error:
                log.warning("unfinished layer left to expire", ref=ref, error=error.one_line())


def _compression(media_type: str) -> str:
    try:
        return layer_compression(media_type)
    except InvalidArgument as error:
        raise Unimplemented(str(error.what), hint=error.hint, field="media_type") from None
