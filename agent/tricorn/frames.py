"""The frame protocol of exec and attach, `tricorn-stdio/1`, without I/O: bytes in, frames out.

After a `101 Switching Protocols` both sides send frames: one byte of kind, four bytes of length
(big-endian, at most `limits.FRAME_SIZE`), then the payload. Server and client share this file, which is
why it imports neither Trio nor the model.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import IntEnum
from typing import Any, Final, NamedTuple

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted, Unavailable

PROTOCOL: Final = "tricorn-stdio/1"
_HEAD: Final = struct.Struct(">BI")


class FrameKind(IntEnum):
    """Who sends what: the client 0, 3, 4, 5 and 9, the agent 1, 2, 6, 7 and 8."""

    STDIN = 0  # bytes
    STDOUT = 1  # bytes
    STDERR = 2  # bytes
    RESIZE = 3  # JSON {"rows", "columns"}
    STDIN_CLOSED = 4  # empty
    SIGNAL = 5  # JSON {"signal"}
    EXIT = 6  # JSON ExitView; the last frame
    ERROR = 7  # problem document; the last frame
    STARTED = 8  # JSON {"pid"}; the agent's first frame
    EXEC = 9  # JSON ExecRequest; the client's first frame of an exec


FROM_CLIENT: Final = frozenset(
    {FrameKind.STDIN, FrameKind.RESIZE, FrameKind.STDIN_CLOSED, FrameKind.SIGNAL, FrameKind.EXEC}
)
FROM_AGENT: Final = frozenset(FrameKind) - FROM_CLIENT


class Frame(NamedTuple):
    kind: FrameKind
    payload: bytes = b""

    def document(self) -> dict[str, Any]:
        """Return the payload as a JSON object; raise InvalidArgument when it is none."""
        try:
            value = json.loads(self.payload)
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(f"a {self.kind.name} frame isn't JSON", why=str(error)[:200]) from None
        if not isinstance(value, dict):
            raise InvalidArgument(f"a {self.kind.name} frame must hold a JSON object")
        return value


def encode(kind: FrameKind, payload: bytes = b"") -> bytes:
    """Return one frame; raise ResourceExhausted when the payload is over `limits.FRAME_SIZE`."""
    if len(payload) > limits.FRAME_SIZE:
        raise _oversize(kind.name, len(payload))
    return _HEAD.pack(kind, len(payload)) + payload


def encode_document(kind: FrameKind, document: Mapping[str, Any]) -> bytes:
    """Return one frame with `document` as JSON."""
    return encode(kind, utf8(json.dumps(document, separators=(",", ":"), ensure_ascii=False)))


def utf8(text: str) -> bytes:
    """Return the bytes of `text`; InvalidArgument where a command line, say, gave others than UTF-8's."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        bad = error.object[error.start : error.end].encode("utf-8", "surrogatepass")
        with suppress(UnicodeEncodeError):  # how Python shows bytes that are no text
            bad = error.object[error.start : error.end].encode("utf-8", "surrogateescape")
        raise InvalidArgument(
            "the request's text isn't UTF-8",
            why=f"{bad!r} is in it",
            hint="the agent takes names and words as UTF-8",
        ) from None


def encode_stream(kind: FrameKind, data: bytes) -> Iterator[bytes]:
    """Yield frames for `data` of any length, each within the limit. No frame for no data."""
    for start in range(0, len(data), limits.FRAME_SIZE):
        yield encode(kind, data[start : start + limits.FRAME_SIZE])


class FrameDecoder:
    """Cuts a byte stream into frames. `accepts` are the kinds that the other side may send.

    Holds at most one incomplete frame. After an error the stream has no meaning any more.
    """

    def __init__(self, accepts: frozenset[FrameKind] = frozenset(FrameKind)) -> None:
        self._accepts = accepts
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes, in order.

        Raises InvalidArgument for a kind that is unknown or not the sender's, ResourceExhausted for an
        oversized frame, both as soon as the frame's head is there.
        """
        self._rest += data
        frames: list[Frame] = []
        offset = 0
        while len(self._rest) - offset >= _HEAD.size:
            number, length = _HEAD.unpack_from(self._rest, offset)
            kind = self._kind(number)
            if length > limits.FRAME_SIZE:
                raise _oversize(kind.name, length)
            end = offset + _HEAD.size + length
            if end > len(self._rest):
                break
            frames.append(Frame(kind, bytes(self._rest[offset + _HEAD.size : end])))
            offset = end
        del self._rest[:offset]
        return frames

    def close(self) -> None:
        """Say that the stream has ended; raise Unavailable when it ended inside a frame."""
        if self._rest:
            raise Unavailable(
                "the connection ended inside a frame", why=f"{len(self._rest)} bytes are left over"
            )

    def _kind(self, number: int) -> FrameKind:
        try:
            kind = FrameKind(number)
        except ValueError:
            raise InvalidArgument(f"frame kind {number} is unknown", why=f"this is {PROTOCOL}") from None
        if kind not in self._accepts:
            raise InvalidArgument(f"a frame of kind {kind.name} may not come from this side")
        return kind


def _oversize(name: str, length: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"a {name} frame is too large",
        why=f"{length} bytes, at most {limits.FRAME_SIZE}",
        limit=limits.FRAME_SIZE,
    )
