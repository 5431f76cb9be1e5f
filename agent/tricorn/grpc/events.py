"""What an HTTP/2 connection tells those who use it."""

from __future__ import annotations

from typing import Final, NamedTuple

from tricorn.grpc.metadata import Fields


class ErrorCode:
    """RFC 9113, 7."""

    NO_ERROR: Final = 0
    PROTOCOL_ERROR: Final = 1
    INTERNAL_ERROR: Final = 2
    FLOW_CONTROL_ERROR: Final = 3
    STREAM_CLOSED: Final = 5
    FRAME_SIZE_ERROR: Final = 6
    REFUSED_STREAM: Final = 7
    CANCEL: Final = 8
    COMPRESSION_ERROR: Final = 9
    ENHANCE_YOUR_CALM: Final = 11


class HeadersReceived(NamedTuple):
    stream: int
    fields: Fields
    ended: bool


class DataReceived(NamedTuple):
    """`size` is what the frame took of the windows: the data and its padding."""

    stream: int
    data: bytes
    size: int
    ended: bool


class StreamReset(NamedTuple):
    stream: int
    code: int


class WindowOpened(NamedTuple):
    """`stream` 0 is the connection, -1 all streams."""

    stream: int


class GoneAway(NamedTuple):
    last: int
    code: int


class Ready(NamedTuple):
    """The other side's settings are known."""


Event = HeadersReceived | DataReceived | StreamReset | WindowOpened | GoneAway | Ready


class ProtocolViolation(Exception):
    """The other side broke HTTP/2, or our bounds: the connection is over. `code` is for the GOAWAY."""

    def __init__(self, message: str, code: int = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


class StreamGone(Exception):
    """The stream isn't open for sending any more."""
