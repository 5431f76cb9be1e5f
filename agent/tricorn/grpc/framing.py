"""Messages on a stream of bytes: one byte of flags, four of length, the payload (grpc's PROTOCOL-HTTP2)."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from typing import Final

from tricorn import limits
from tricorn.grpc.status import Code, RpcError

Buffer = bytes | memoryview
_PREFIX: Final = struct.Struct(">BI")
PREFIX_SIZE: Final = _PREFIX.size
_SMALL: Final = 1 * limits.KIB
_PILE: Final = 16 * limits.KIB


class RawMessage:
    """A message that the handler serialised itself, in parts. They are sent uncopied, some of them after
    `send` returned: they must never change.
    """

    __slots__ = ("parts", "size")

    def __init__(self, parts: Sequence[Buffer]) -> None:
        self.parts = parts
        self.size = sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in parts)


class Outgoing:
    """What is left to send of one message."""

    __slots__ = ("_at", "_parts", "left")

    def __init__(self, message: RawMessage) -> None:
        parts = [memoryview(part).cast("B") for part in message.parts if len(part)]
        self._parts = [memoryview(_PREFIX.pack(0, message.size)), *parts]
        self._at = 0
        self.left = PREFIX_SIZE + message.size

    def take(self, size: int) -> list[Buffer]:
        """Return views of the next `size` bytes, of which there must be as many."""
        self.left -= size
        taken: list[Buffer] = []
        while size:
            part = self._parts[0]
            rest = len(part) - self._at
            if rest <= size:
                taken.append(part[self._at :] if self._at else part)
                del self._parts[0]
                self._at = 0
                size -= rest
            else:
                taken.append(part[self._at : self._at + size])
                self._at += size
                size = 0
        return taken


def frame(payload: bytes) -> bytes:
    """Return a small message with its prefix."""
    return _PREFIX.pack(0, len(payload)) + payload


class MessageReader:
    """Cuts the bytes of a stream into messages. What it holds is what its feeder lets it have."""

    __slots__ = ("_chunks", "_need", "limit", "size")

    def __init__(self, limit: int = limits.GRPC_MESSAGE) -> None:
        self._chunks: deque[Buffer | bytearray] = deque()
        self._need = -1  # bytes of the next message, prefix included; -1 until its prefix is there
        self.size = 0
        self.limit = limit

    def feed(self, data: bytes) -> None:
        """Add bytes. Small pieces are put together: each by itself would cost many times its size."""
        self.size += len(data)
        last = self._chunks[-1] if self._chunks else None
        if isinstance(last, bytearray) and len(last) < _PILE:
            last += data
        elif len(data) < _SMALL:
            self._chunks.append(bytearray(data))
        else:
            self._chunks.append(data)

    @property
    def ready(self) -> bool:
        """Whether `take` would return a message, or raise."""
        if self._need < 0 and self.size >= PREFIX_SIZE:
            flags, length = _PREFIX.unpack(self._peek())
            self._need = 0 if flags or length > self.limit else PREFIX_SIZE + length
        return 0 <= self._need <= self.size

    def take(self) -> bytes | None:
        """Return the next message, None while it is incomplete.

        Raises RpcError: RESOURCE_EXHAUSTED when it is over the limit, UNIMPLEMENTED when it is compressed,
        both as soon as its prefix is there.
        """
        if self.size < PREFIX_SIZE:
            return None
        flags, length = _PREFIX.unpack(self._peek())
        if flags:
            raise _unreadable(flags)
        if length > self.limit:
            raise RpcError.of(
                Code.RESOURCE_EXHAUSTED, f"received message larger than max ({length} vs. {self.limit})"
            )
        if self.size < PREFIX_SIZE + length:
            return None
        self._need = -1
        self._take(PREFIX_SIZE)
        return self._take(length)

    def clear(self) -> int:
        """Drop all bytes and return how many they were."""
        dropped, self.size = self.size, 0
        self._chunks.clear()
        return dropped

    def _peek(self) -> Buffer | bytearray:
        first = self._chunks[0]
        if len(first) >= PREFIX_SIZE:
            return first[:PREFIX_SIZE]
        head = self._take(PREFIX_SIZE)
        self._chunks.appendleft(head)
        self.size += PREFIX_SIZE
        return head

    def _take(self, count: int) -> bytes:
        self.size -= count
        first = self._chunks[0] if self._chunks else b""
        if len(first) == count and isinstance(first, bytes) and count:
            self._chunks.popleft()
            return first
        taken: list[Buffer | bytearray] = []
        while count:
            first = self._chunks.popleft()
            if len(first) > count:
                view = memoryview(first)
                self._chunks.appendleft(view[count:])
                first = view[:count]
            taken.append(first)
            count -= len(first)
        return b"".join(taken)


def _unreadable(flags: int) -> RpcError:
    if flags == 1:
        return RpcError.of(
            Code.UNIMPLEMENTED, "compressed messages are not supported; send them uncompressed"
        )
    return RpcError.of(Code.INTERNAL, f"a message has unknown flags {flags:#x}")
