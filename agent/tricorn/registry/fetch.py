"""Brings a blob's bytes into a sink: resumable, and with no copy between socket and sink.

A receiver fills 1 MiB buffers from a small free list and hands them through a channel of two to a
writer, so that the network and the disk work at the same time. On a broken connection, what was received
is written before the error is told, and the next try goes on from there.
"""

from __future__ import annotations

import re
from typing import Final

import trio
from attrs import Factory, define, frozen

from tricorn import limits
from tricorn.errors import DataLoss, Unavailable
from tricorn.model.oci import INDEX_TYPES, MANIFEST_TYPES, Descriptor
from tricorn.ports import BlobSink
from tricorn.registry.access import Access, Call
from tricorn.registry.answers import refusal
from tricorn.registry.connection import Header
from tricorn.registry.resolve import ACCEPT
from tricorn.registry.rounds import ShortBody
from tricorn.registry.wire import Response
from tricorn.rules.hosts import RegistryHost

_RANGE: Final = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)")
_AHEAD: Final = 2
_SPARE: Final = 8


class SinkFailedError(Exception):
    """Carries an error of the sink past the network's retries."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@define
class Buffers:
    """The free list: buffers that transfers give back, at most a few of them."""

    _spare: list[bytearray] = Factory(list)

    def take(self) -> bytearray:
        """Return a buffer of TRANSFER_BUFFER bytes."""
        return self._spare.pop() if self._spare else bytearray(limits.TRANSFER_BUFFER)

    def give(self, buffer: bytearray) -> None:
        """Take a buffer back."""
        if len(self._spare) < _SPARE:
            self._spare.append(buffer)

    def forget(self) -> None:
        """Let go of all that nobody uses."""
        self._spare.clear()


@frozen
class _Filled:
    buffer: bytearray
    start: int
    end: int


@define
class Transfer:
    """One blob on its way into one sink, over as many connections as it takes."""

    access: Access
    call: Call
    descriptor: Descriptor
    sink: BlobSink
    buffers: Buffers
    _without_ranges: set[RegistryHost] = Factory(set)
    _sink_error: Exception | None = None

    async def run(self, host: RegistryHost) -> None:
        """Bring the missing bytes from `host`.

        Raises Unavailable when it broke off (what came is in the sink), DataLoss for a body longer than the
        descriptor says, SinkFailedError for the sink, and the errors of `refusal`.
        """
        if self.sink.offset >= self.descriptor.size:
            self._check_end()
            return
        headers = self._headers(host)
        async with self.access.open(self.call, host, "GET", self._path(), headers) as response:
            skip = await self._start(response, host)
            await self._pump(response, skip)
        self._check_end()

    def _check_end(self) -> None:
        if self.sink.offset > self.descriptor.size:
            raise DataLoss(
                f"{self.descriptor.digest} is longer than its descriptor says",
                why=f"the ingest has {self.sink.offset} of {self.descriptor.size} bytes",
                hint="the ingest must start again",
            )

    def _path(self) -> str:
        is_manifest = self.descriptor.media_type in INDEX_TYPES | MANIFEST_TYPES
        return f"/{'manifests' if is_manifest else 'blobs'}/{self.descriptor.digest}"

    def _headers(self, host: RegistryHost) -> tuple[Header, ...]:
        is_manifest = self.descriptor.media_type in INDEX_TYPES | MANIFEST_TYPES
        headers: tuple[Header, ...] = ACCEPT if is_manifest else (("Accept", "*/*"),)
        if self.sink.offset and host not in self._without_ranges:
            headers += (("Range", f"bytes={self.sink.offset}-"),)
        return headers

    async def _start(self, response: Response, host: RegistryHost) -> int:
        """Check the answer's head; return how many bytes of its body the sink has already."""
        offset, size = self.sink.offset, self.descriptor.size
        if response.status == 206 and offset:
            if not _continues(response, offset, size):
                self._without_ranges.add(host)
                raise Unavailable(f"{host} answers with another range than asked for")
            return 0
        if response.status == 416:
            self._without_ranges.add(host)
            raise ShortBody(f"{host} has no byte {offset} of {self.descriptor.digest}")
        if response.status != 200:
            raise await refusal(response)
        if response.length is not None and response.length > size:
            raise self._too_long(response)
        return offset

    async def _pump(self, response: Response, skip: int) -> None:
        """Run receiver and writer; the receiver's error is told after the writer has written the rest."""
        full_in, full_out = trio.open_memory_channel[_Filled](_AHEAD)
        failure: Unavailable | DataLoss | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, full_out, nursery.cancel_scope)
            async with full_in:
                try:
                    await self._receive(response, full_in, skip)
                except (Unavailable, DataLoss) as error:
                    failure = error
        if self._sink_error is not None:
            raise SinkFailedError(self._sink_error)
        if failure is not None:
            raise failure

    async def _receive(self, response: Response, full: trio.MemorySendChannel[_Filled], skip: int) -> None:
        left = self.descriptor.size - self.sink.offset + skip
        while left:
            buffer = self.buffers.take()
            end, problem = await _fill(response, memoryview(buffer)[: min(left, len(buffer))])
            start = min(skip, end)
            skip, left = skip - start, left - end
            await full.send(_Filled(buffer, start, end))
            if problem is not None:
                raise problem
            if left and end < len(buffer):
                raise ShortBody(f"{response.url.origin} sent too little", why=f"{left} bytes are missing")
        if await response.read_into(memoryview(bytearray(1))):
            raise self._too_long(response)

    async def _write(self, full: trio.MemoryReceiveChannel[_Filled], transfer: trio.CancelScope) -> None:
        """Write until the receiver closes the channel. A failing sink ends the transfer."""
        async for filled in full:
            try:
                if filled.end > filled.start:
                    await self.sink.write(memoryview(filled.buffer)[filled.start : filled.end])
            except Exception as error:  # noqa: BLE001 - told to the caller, whatever it is
                self._sink_error = error
                transfer.cancel()
                return
            self.buffers.give(filled.buffer)

    def _too_long(self, response: Response) -> DataLoss:
        return DataLoss(
            f"{response.url.origin} sends more than {self.descriptor.digest} should have",
            why=f"the descriptor says {self.descriptor.size} bytes",
        )


async def _fill(response: Response, view: memoryview) -> tuple[int, Unavailable | None]:
    """Fill `view`; return how far it got and the network's error, if one ended it."""
    end = 0
    try:
        while end < len(view) and (count := await response.read_into(view[end:])):
            end += count
    except Unavailable as error:
        return end, error
    return end, None


def _continues(response: Response, offset: int, size: int) -> bool:
    match = _RANGE.fullmatch(response.head.get("content-range").strip())
    if match is None:
        return False
    first, last, total = int(match[1]), int(match[2]), match[3]
    return first == offset and first <= last < size and total in {"*", str(size)}
