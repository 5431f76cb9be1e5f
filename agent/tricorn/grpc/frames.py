"""Frames of HTTP/2 (RFC 9113, 4 and 6), cut out of a stream of bytes and checked as soon as their heads are
there: nothing is held that will be refused.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from tricorn import limits
from tricorn.grpc.events import ErrorCode, ProtocolViolation

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
LAST_STREAM: Final = 2**31 - 1
_HEAD: Final = struct.Struct(">HBBBI")
_WORD: Final = struct.Struct(">I")
_SETTING: Final = struct.Struct(">HI")


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def encode_head(kind: int, flags: int, stream: int, size: int) -> bytes:
    """Return the head of a frame with `size` bytes of payload."""
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream)


def encode(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


class FrameCutter:
    """Takes the preface (on the server), then frames. Holds at most one frame and what was fed last."""

    def __init__(self, *, client: bool) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._preface = b"" if client else PREFACE
        self._begun = False

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def next(self) -> Frame | None:
        """Return the next frame, None until it is complete; raise ProtocolViolation."""
        if self._preface and not self._take_preface():
            return None
        start = self._at + _HEAD.size
        if len(self._buffer) < start:
            return None
        high, low, kind, flags, stream = _HEAD.unpack_from(self._buffer, self._at)
        size = high << 8 | low
        if size > limits.GRPC_FRAME:
            raise ProtocolViolation(f"a frame of {size} bytes", ErrorCode.FRAME_SIZE_ERROR)
        if not self._begun and kind != SETTINGS:
            raise ProtocolViolation("the first frame must be SETTINGS")
        if len(self._buffer) < start + size:
            return None
        self._begun = True
        self._at = start + size
        return Frame(kind, flags, stream & LAST_STREAM, bytes(memoryview(self._buffer)[start : self._at]))

    def _take_preface(self) -> bool:
        have = bytes(self._buffer[: len(self._preface)])
        if not self._preface.startswith(have):
            raise ProtocolViolation("the connection preface is wrong")
        self._preface = self._preface[len(have) :]
        self._at = len(have)
        return not self._preface


class HeaderBlock:
    """A header list that comes in pieces; bounded by bytes and by pieces."""

    def __init__(self, stream: int, *, ended: bool, first: bytes) -> None:
        self.stream = stream
        self.ended = ended
        self.size = 0
        self._parts: list[bytes] = []
        self.add(first)

    def add(self, part: bytes) -> None:
        """Add a piece; raise ProtocolViolation when it is one too many."""
        self.size += len(part)
        self._parts.append(part)
        if self.size > limits.GRPC_HEADERS or len(self._parts) > limits.GRPC_CONTINUATIONS:
            raise ProtocolViolation("a header list is too large", ErrorCode.ENHANCE_YOUR_CALM)

    def whole(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


def content_of(frame: Frame) -> bytes:
    """Return the payload of a DATA or HEADERS frame without its padding and priority."""
    payload = frame.payload
    if frame.flags & PADDED:
        if not payload or payload[0] >= len(payload):
            raise ProtocolViolation("a frame's padding is longer than the frame")
        payload = payload[1 : len(payload) - payload[0]]
    if frame.kind == HEADERS and frame.flags & WITH_PRIORITY:
        if len(payload) < 5:
            raise ProtocolViolation("a HEADERS frame is too short", ErrorCode.FRAME_SIZE_ERROR)
        payload = payload[5:]
    return payload


def word_of(frame: Frame) -> int:
    """Return the number that is the whole payload."""
    if len(frame.payload) != _WORD.size:
        raise ProtocolViolation("a frame has the wrong size", ErrorCode.FRAME_SIZE_ERROR)
    return int(_WORD.unpack(frame.payload)[0])


def encode_word(number: int) -> bytes:
    return _WORD.pack(number)


def settings_of(frame: Frame) -> dict[int, int]:
    """Return the entries of a SETTINGS frame; those with unknown names are nobody's business."""
    payload = frame.payload
    if frame.stream or len(payload) % _SETTING.size or (frame.flags & ACK and payload):
        raise ProtocolViolation("a SETTINGS frame is malformed", ErrorCode.FRAME_SIZE_ERROR)
    if len(payload) > limits.GRPC_SETTINGS * _SETTING.size:
        raise ProtocolViolation("a SETTINGS frame is too long", ErrorCode.ENHANCE_YOUR_CALM)
    return {name: value for name, value in _SETTING.iter_unpack(payload) if 1 <= name <= 6}


def encode_settings(entries: dict[int, int]) -> bytes:
    return b"".join(_SETTING.pack(name, value) for name, value in entries.items())


def goaway_of(frame: Frame) -> tuple[int, int]:
    """Return the last stream and the code of a GOAWAY frame."""
    if frame.stream or len(frame.payload) < 8:
        raise ProtocolViolation("a GOAWAY frame is malformed", ErrorCode.FRAME_SIZE_ERROR)
    last, code = struct.unpack_from(">II", frame.payload)
    return last & LAST_STREAM, code


def encode_goaway(last: int, code: int, message: str) -> bytes:
    return struct.pack(">II", last, code) + message.encode()[:200]
