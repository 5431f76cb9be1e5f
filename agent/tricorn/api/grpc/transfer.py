"""containerd's transfer service: images between registries, the node and archives."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import trio
from attrs import define, field

from tricorn import limits, wire
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.api.grpc.http_trace import tracing
from tricorn.api.grpc.stream_bytes import ReceivedBytes, SentBytes
from tricorn.api.grpc.transfer_messages import (
    StreamCredentials,
    platforms_of,
    progress_of,
    registry_end,
    store_end,
)
from tricorn.errors import TricornError, Unimplemented
from tricorn.model.transfer import TransferEvent
from tricorn.rules.authorise import Role
from tricorn.service.archive_writer import ExportRequest
from tricorn.service.nurseries import typed_nursery
from tricorn.service.progress import Reporter
from tricorn.service.streams import MessageStream
from tricorn.service.transfer import RegistryEnd
from tricorn.service.transfer_progress import Parts, silent

EMPTY: Final = wire.message("google.protobuf.Empty")
_PACKAGE: Final = "containerd.types.transfer."
_DEBUG, _BOTH = 1, 3  # HTTPDebug
_GOODBYE: Final = 5.0  # seconds for the last of the progress


@define
class _Work:
    """One transfer: its two ends as messages, where to tell of it, and the streams it took."""

    call: FaceCall
    source: Any
    destination: Any
    tell: Callable[[TransferEvent], None]
    streams: list[MessageStream] = field(factory=list)
    reporter: Reporter = field(factory=Reporter)

    @property
    def object(self) -> str:
        """What people know the transfer by: the name of its image, or where that goes."""
        for end in (self.source, self.destination):
            if name := getattr(end, "reference", "") or getattr(end, "name", ""):
                return str(name)
        return "archive"


class TransferFace(Face):
    service: ClassVar[str] = "containerd.services.transfer.v1.Transfer"

    @rpc("Transfer", Role.OPERATE)
    async def transfer(self, call: FaceCall, request: Any) -> Any:
        source, destination = wire.unpack(request.source), wire.unpack(request.destination)
        kind, run = self._kind(source, destination)
        call.note(source=_kind_of(source), destination=_kind_of(destination))
        async with self._telling(call, request.options.progress_stream) as tell:
            work = _Work(call, source, destination, tell)

            async def attended(reporter: Reporter) -> None:
                work.reporter = reporter
                await run(work)

            try:
                await self.services.operations.attend(call.namespace, kind, work.object, attended)
            finally:
                for stream in work.streams:
                    stream.close()
        return EMPTY()

    def _kind(self, source: Any, destination: Any) -> tuple[str, Callable[[_Work], Awaitable[None]]]:
        kinds = {
            ("OCIRegistry", "ImageStore"): ("pull", self._pull),
            ("ImageStore", "OCIRegistry"): ("push", self._push),
            ("ImageStore", "ImageStore"): ("tag", self._tag),
            ("ImageImportStream", "ImageStore"): ("import", self._import),
            ("ImageStore", "ImageExportStream"): ("export", self._export),
        }
        pair = _kind_of(source), _kind_of(destination)
        if pair not in kinds:
            raise Unimplemented(
                f"transfers from {pair[0]} to {pair[1]} are not there",
                why="images move between registries, the image store and archives",
            )
        return kinds[pair]

    async def _pull(self, work: _Work) -> None:
        async with self._registry(work, work.source) as registry:
            await self.services.transfer.pull(
                work.call.namespace, registry, store_end(work.destination),
                lease=work.call.lease, tell=work.tell, reporter=work.reporter,
            )  # fmt: skip

    async def _push(self, work: _Work) -> None:
        async with self._registry(work, work.destination) as registry:
            await self.services.transfer.push(
                work.call.namespace, work.source.name, registry,
                wanted=platforms_of(work.source.platforms), tell=work.tell, reporter=work.reporter,
            )  # fmt: skip

    async def _tag(self, work: _Work) -> None:
        store = store_end(work.destination)
        await self.services.transfer.tag(work.call.namespace, work.source.name, store, lease=work.call.lease)

    async def _import(self, work: _Work) -> None:
        received = ReceivedBytes(self._stream(work, work.source.stream))
        await self.services.transfer.load(
            work.call.namespace, received.receive, store_end(work.destination),
            compress=work.source.force_compress, lease=work.call.lease, tell=work.tell,
            reporter=work.reporter,
        )  # fmt: skip

    async def _export(self, work: _Work) -> None:
        transfer, to = self.services.transfer, work.destination
        sent = SentBytes(self._stream(work, to.stream))
        work.tell(TransferEvent("Exporting"))
        images = await transfer.images_of(work.call.namespace, store_end(work.source))
        plan = await transfer.plan_export(
            ExportRequest(
                work.call.namespace,
                images,
                platforms_of(to.platforms),
                all_platforms=to.all_platforms,
                docker=not to.skip_compatibility_manifest,
                distributable=to.skip_non_distributable,
            )
        )
        parts = Parts(work.object, work.tell)
        for blob in plan.blobs.values():
            parts.known(blob, None)
        async with parts.following(work.reporter):
            await transfer.exporter.write(plan, sent.write, work.reporter)
        await sent.finish()
        work.tell(TransferEvent("Completed export"))

    def _stream(self, work: _Work, name: str) -> MessageStream:
        stream = self.services.streams.get(work.call.namespace, name)
        work.streams.append(stream)
        return stream

    @asynccontextmanager
    async def _registry(self, work: _Work, message: Any) -> AsyncIterator[RegistryEnd]:
        """A hosts directory of the client's names files of the node: that takes a role on the node."""
        resolver = message.resolver
        if resolver.host_dir:
            work.call.require(None, Role.OPERATE)
        credentials = None
        if resolver.auth_stream:
            stream = self._stream(work, resolver.auth_stream)
            credentials = StreamCredentials(stream, message.reference)
        if resolver.http_debug not in {_DEBUG, _BOTH} or not resolver.logs_stream:
            yield registry_end(message, credentials)
            return
        async with tracing(self._stream(work, resolver.logs_stream)) as trace:
            yield registry_end(message, credentials, trace)

    @asynccontextmanager
    async def _telling(self, call: FaceCall, name: str) -> AsyncIterator[Callable[[TransferEvent], None]]:
        """Send events to the stream `name` while the context is open; "" for none."""
        if not name:
            yield silent
            return
        stream = self.services.streams.get(call.namespace, name)
        news = _News()
        try:
            async with typed_nursery() as nursery:
                nursery.start_soon(news.send_to, stream)
                yield news.tell
                news.end()
        finally:
            stream.close()


class _News:
    """Events on their way. A client that is slow gets the latest of each part, and all lines of the whole;
    what it can't take makes no transfer fail.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, TransferEvent] = OrderedDict()
        self._came = trio.Event()
        self._ended = False
        self._lines = 0

    def tell(self, event: TransferEvent) -> None:
        self._lines += 1
        key = event.name if event.descriptor and event.parents else f"\0{self._lines % limits.STREAMS}"
        self._waiting[key] = event
        self._came.set()

    def end(self) -> None:
        self._ended = True
        self._came.set()

    async def send_to(self, stream: MessageStream) -> None:
        """Send what comes until the end, and the rest then; give up on a client that has gone."""
        try:
            while not self._ended:
                await self._came.wait()
                self._came = trio.Event()
                await self._flush(stream)
            with trio.move_on_after(_GOODBYE):
                await self._flush(stream)
        except TricornError:
            return

    async def _flush(self, stream: MessageStream) -> None:
        while self._waiting:
            _, event = self._waiting.popitem(last=False)
            await stream.send(progress_of(event))


def _kind_of(message: Any) -> str:
    name: str = message.DESCRIPTOR.full_name
    return name.removeprefix(_PACKAGE)
