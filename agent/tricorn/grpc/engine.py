"""HTTP/2 without I/O: bytes in, events out; calls in, bytes out. The only file that knows h2.

h2 and hpack decide what a frame does to connection, stream, window and header table. Ahead of them, here,
frames are cut out of the stream of bytes and checked (size, floods, what gRPC never needs), so that nothing
is held that will be refused; behind them, frames to be sent are written directly, since their shape is
always the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, NamedTuple

import h2.errors
import h2.events
import h2.exceptions
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamInputs
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    DataFrame,
    Frame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tricorn import limits
from tricorn.grpc.floods import Flood, FloodGuard
from tricorn.grpc.framing import Buffer, Outgoing
from tricorn.grpc.hpack_literals import NO_TABLE
from tricorn.grpc.metadata import Fields

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD: Final = struct.Struct(">HBBBI")
_HEAD_SIZE: Final = 9
_WORD: Final = struct.Struct(">I")
_SETTING: Final = struct.Struct(">HI")
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_DATA, _HEADERS, _PRIORITY_FRAME, _RST_STREAM, _SETTINGS = range(5)
_PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = range(5, 10)
_KNOWN_SETTINGS: Final = frozenset(range(1, 7))
_LAST_STREAM: Final = 2**31 - 1
_FRAMES_AT_ONCE: Final = 64
_SEND_FRAME: Final = 256 * limits.KIB  # larger frames gain nothing, and hold up other streams


class ErrorCode:
    """RFC 9113, 7."""

    NO_ERROR: Final = 0
    PROTOCOL_ERROR: Final = 1
    INTERNAL_ERROR: Final = 2
    FLOW_CONTROL_ERROR: Final = 3
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


class _States(H2Connection):
    """h2's states, windows and header tables, entered with frames that are checked already."""

    MAX_CLOSED_STREAMS = limits.GRPC_CLOSED_STREAMS

    def __init__(self, *, client: bool, settings: dict[int, int]) -> None:
        super().__init__(
            H2Configuration(
                client_side=client,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.local_settings = Settings(
            client=client, initial_values={SettingCodes(k): v for k, v in settings.items()}
        )
        self.max_inbound_frame_size = limits.GRPC_FRAME
        self.decoder.max_header_list_size = limits.GRPC_HEADERS

    @property
    def open_inbound_streams(self) -> int:
        return 0  # counted by the connection, which refuses a stream instead of breaking off

    @property
    def open_outbound_streams(self) -> int:
        return len(self.streams)

    def enter(self, frame: Frame) -> list[h2.events.Event]:
        return self._receive_frame(frame)

    def forget(self, stream: H2Stream) -> None:
        """Keep of a closed stream only that it was, and how it ended."""
        if self.streams.pop(stream.stream_id, None) is not None:
            self._closed_streams[stream.stream_id] = stream.closed_by

    def was_closed(self, stream: int) -> bool:
        return stream in self._closed_streams


class Engine:
    """One side of a connection. What it has to say is gathered for `take_output`."""

    def __init__(self, *, client: bool, guard: FloodGuard | None = None) -> None:
        settings: dict[int, int] = {
            SettingCodes.HEADER_TABLE_SIZE: 4096,
            SettingCodes.INITIAL_WINDOW_SIZE: limits.GRPC_STREAM_WINDOW,
            SettingCodes.MAX_FRAME_SIZE: limits.GRPC_FRAME,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.GRPC_HEADERS,
        }
        if client:
            settings[SettingCodes.ENABLE_PUSH] = 0
        else:
            settings[SettingCodes.MAX_CONCURRENT_STREAMS] = limits.GRPC_STREAMS
        self._h2 = _States(client=client, settings=settings)
        self._client = client
        self._guard = guard or FloodGuard()
        self._buffer = bytearray()
        self._preface = b"" if client else PREFACE
        self._settled = False  # the other side's SETTINGS came, as they must before all else
        self._block: _Block | None = None
        self._shrink = False
        self._out: list[Buffer] = []
        self._say_hello(settings)

    def _say_hello(self, settings: dict[int, int]) -> None:
        if self._client:
            self._out.append(PREFACE)
        body = b"".join(_SETTING.pack(number, value) for number, value in settings.items())
        self._write(_SETTINGS, 0, 0, body)
        self._h2.increment_flow_control_window(limits.GRPC_CONNECTION_WINDOW - 65535)
        self._collect()

    # ------------------------------------------------------------ receiving
    def feed(self, data: bytes) -> None:
        """Add received bytes; at most `limits.GRPC_FRAME` and one read are held."""
        self._buffer += data

    def events(self) -> tuple[list[Event], bool]:
        """Return what some of the received frames mean, and whether there are more to look at.

        Raises ProtocolViolation; the GOAWAY that belongs to it is among the output then.
        """
        events: list[Event] = []
        try:
            more = self._cut(events)
        except (h2.exceptions.ProtocolError, HyperframeError, Flood, ProtocolViolation) as error:
            violation = _violation(error)
            self.go_away(violation.code, str(violation))
            raise violation from None
        finally:
            self._collect()
        return events, more

    def _cut(self, events: list[Event]) -> bool:
        if self._preface and not self._take_preface():
            return False
        buffer, at = self._buffer, 0
        try:
            for _ in range(_FRAMES_AT_ONCE):
                if len(buffer) - at < _HEAD_SIZE:
                    return False
                high, low, kind, flags, stream = _HEAD.unpack_from(buffer, at)
                size = high << 8 | low
                if size > limits.GRPC_FRAME:
                    raise ProtocolViolation(f"a frame of {size} bytes", ErrorCode.FRAME_SIZE_ERROR)
                end = at + _HEAD_SIZE + size
                if end > len(buffer):
                    return False
                payload = bytes(memoryview(buffer)[at + _HEAD_SIZE : end])
                at = end
                self._frame(kind, flags, stream & _LAST_STREAM, payload, events)
            return True
        finally:
            del buffer[:at]

    def _take_preface(self) -> bool:
        have = bytes(self._buffer[: len(self._preface)])
        if not self._preface.startswith(have):
            raise ProtocolViolation("the connection preface is wrong")
        self._preface = self._preface[len(have) :]
        del self._buffer[: len(have)]
        return not self._preface

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        if not self._settled and kind != _SETTINGS:
            raise ProtocolViolation("the first frame must be SETTINGS")
        if self._block is not None and kind != _CONTINUATION:
            raise ProtocolViolation("another frame inside a header block")
        if kind == _DATA:
            self._on_data(flags, stream, payload, events)
        elif kind == _HEADERS:
            self._on_headers(flags, stream, payload, events)
        elif (handler := self._HANDLERS.get(kind)) is not None:
            handler(self, flags, stream, payload, events)
        else:
            self._guard.spend(1)  # unknown: to be ignored (RFC 9113, 5.5)

    def _on_data(self, flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        size = len(payload)
        if flags & _PADDED:
            payload = _unpad(payload)
        ended = bool(flags & _END_STREAM)
        if stream not in self._h2.streams:
            self._guard.spend(1)
        elif len(payload) >= 16:
            self._guard.earn(min(size / 4096, 4.0))
        elif not ended:
            self._guard.spend(0.25 if payload else 1.0)
        frame = DataFrame(stream, payload)
        if ended:
            frame.flags.add("END_STREAM")
        if size != len(payload):
            frame.flags.add("PADDED")
            frame.pad_length = size - len(payload) - 1
        self._enter(frame, events)

    def _on_headers(self, flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        if flags & _PADDED:
            payload = _unpad(payload)
        if flags & _PRIORITY:
            if len(payload) < 5:
                raise ProtocolViolation("a HEADERS frame is too short", ErrorCode.FRAME_SIZE_ERROR)
            payload = payload[5:]
        self._block = _Block(stream, bool(flags & _END_STREAM), [payload], len(payload))
        self._continue(flags, events)

    def _on_continuation(self, flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        block = self._block
        if block is None or block.stream != stream:
            raise ProtocolViolation("a CONTINUATION frame without its HEADERS")
        block.parts.append(payload)
        block.size += len(payload)
        self._guard.spend(1)
        self._continue(flags, events)

    def _continue(self, flags: int, events: list[Event]) -> None:
        block = self._block
        assert block is not None
        if block.size > limits.GRPC_HEADERS or len(block.parts) > limits.GRPC_CONTINUATIONS:
            raise ProtocolViolation("a header list is too large", ErrorCode.ENHANCE_YOUR_CALM)
        if not flags & _END_HEADERS:
            return
        self._block = None
        self._guard.spend(block.size / 64)
        self._guard.earn(10)
        frame = HeadersFrame(block.stream, block.parts[0] if len(block.parts) == 1 else b"".join(block.parts))
        if block.ended:
            frame.flags.add("END_STREAM")
        self._enter(frame, events)

    def _on_reset(self, _flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        self._guard.spend(18)
        frame = RstStreamFrame(stream, error_code=_word(payload))
        if stream > self._highest(stream):
            raise ProtocolViolation("RST_STREAM of an idle stream")
        self._enter(frame, events)

    def _on_settings(self, flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        if stream or len(payload) % _SETTING.size or (flags & _ACK and payload):
            raise ProtocolViolation("a SETTINGS frame is malformed", ErrorCode.FRAME_SIZE_ERROR)
        if len(payload) > limits.GRPC_SETTINGS * _SETTING.size:
            raise ProtocolViolation("a SETTINGS frame is too long", ErrorCode.ENHANCE_YOUR_CALM)
        self._guard.spend(20 + len(self._h2.streams) / 8)
        if flags & _ACK:
            return
        entries = {key: value for key, value in _SETTING.iter_unpack(payload) if key in _KNOWN_SETTINGS}
        frame = SettingsFrame(0, settings=entries)
        self._h2.enter(frame)
        self._settled = True
        if entries.get(SettingCodes.HEADER_TABLE_SIZE, 4096) < 4096:
            self._shrink = True
        events.append(Ready())
        if SettingCodes.INITIAL_WINDOW_SIZE in entries:
            events.append(WindowOpened(-1))

    def _on_ping(self, flags: int, stream: int, payload: bytes, _events: list[Event]) -> None:
        if stream or len(payload) != 8:
            raise ProtocolViolation("a PING frame is malformed", ErrorCode.FRAME_SIZE_ERROR)
        self._guard.spend(1)
        if not flags & _ACK:
            self._write(_PING, _ACK, 0, payload)

    def _on_goaway(self, _flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        if stream or len(payload) < 8:
            raise ProtocolViolation("a GOAWAY frame is malformed", ErrorCode.FRAME_SIZE_ERROR)
        self._guard.spend(20)
        last, code = struct.unpack_from(">II", payload)
        events.append(GoneAway(last & _LAST_STREAM, code))

    def _on_window_update(self, _flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        self._guard.spend(1)
        increment = _word(payload) & _LAST_STREAM
        if not increment:
            raise ProtocolViolation("a WINDOW_UPDATE frame opens nothing")
        self._enter(WindowUpdateFrame(stream, window_increment=increment), events)

    def _on_priority(self, _flags: int, stream: int, payload: bytes, _events: list[Event]) -> None:
        if not stream or len(payload) != 5:
            raise ProtocolViolation("a PRIORITY frame is malformed", ErrorCode.FRAME_SIZE_ERROR)
        self._guard.spend(1)

    def _on_push_promise(self, _flags: int, _stream: int, _payload: bytes, _events: list[Event]) -> None:
        raise ProtocolViolation("nobody asked for pushed streams")

    _HANDLERS: ClassVar[dict[int, Callable[[Engine, int, int, bytes, list[Event]], None]]] = {
        _PRIORITY_FRAME: _on_priority,
        _RST_STREAM: _on_reset,
        _SETTINGS: _on_settings,
        _PUSH_PROMISE: _on_push_promise,
        _PING: _on_ping,
        _GOAWAY: _on_goaway,
        _WINDOW_UPDATE: _on_window_update,
        _CONTINUATION: _on_continuation,
    }

    def _highest(self, stream: int) -> int:
        ours = stream % 2 == int(self._client)
        return self._h2.highest_outbound_stream_id if ours else self._h2.highest_inbound_stream_id

    def _enter(self, frame: Frame, events: list[Event]) -> None:
        """Let h2 judge the frame, and turn its answer into our events."""
        for item in self._h2.enter(frame):
            match item:
                case h2.events.DataReceived():
                    assert isinstance(frame, DataFrame)
                    size = item.flow_controlled_length or 0
                    ended = item.stream_ended is not None
                    events.append(DataReceived(frame.stream_id, item.data or b"", size, ended))
                case (
                    h2.events.RequestReceived() | h2.events.ResponseReceived() | h2.events.TrailersReceived()
                ):
                    fields = item.headers or []
                    events.append(
                        HeadersReceived(frame.stream_id, list(fields), item.stream_ended is not None)
                    )
                case h2.events.WindowUpdated():
                    events.append(WindowOpened(item.stream_id or 0))
                case h2.events.StreamReset():
                    self._guard.spend(18)
                    events.append(StreamReset(frame.stream_id, int(item.error_code or 0)))
        state = self._h2.streams.get(frame.stream_id)
        if state is not None and state.closed:
            self._h2.forget(state)

    # ------------------------------------------------------------ sending
    def take_output(self) -> list[Buffer]:
        """Return what there is to send."""
        out, self._out = self._out, []
        return out

    def request(self, fields: Sequence[tuple[bytes, bytes]]) -> int:
        """Open a stream (client) and return its number. Raises StreamGone when no more can be opened."""
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, fields)
        except h2.exceptions.ProtocolError as error:
            raise StreamGone(str(error)) from None
        self._collect()
        return number

    def headers(self, stream: int, block: bytes, *, end: bool) -> None:
        """Send a header block of literals as answer or trailers; raise StreamGone."""
        state = self._state(stream)
        state.state_machine.process_input(StreamInputs.SEND_HEADERS)
        if self._shrink:
            self._shrink = False
            block = NO_TABLE + block
        most = self._h2.max_outbound_frame_size
        flags = _END_STREAM if end else 0
        if len(block) <= most:
            self._write(_HEADERS, flags | _END_HEADERS, stream, block)
        else:
            self._write_long(flags, stream, block, most)
        if end:
            self._end(state)

    def _write_long(self, flags: int, stream: int, block: bytes, most: int) -> None:
        self._write(_HEADERS, flags, stream, block[:most])
        for start in range(most, len(block), most):
            last = _END_HEADERS if start + most >= len(block) else 0
            self._write(_CONTINUATION, last, stream, block[start : start + most])

    def room(self, stream: int) -> tuple[int, int]:
        """Return how many bytes the stream and the connection may send now; raise StreamGone."""
        return self._state(stream).outbound_flow_control_window, self._h2.outbound_flow_control_window

    @property
    def window(self) -> int:
        """How many bytes the connection may send now."""
        return int(self._h2.outbound_flow_control_window)

    def data(self, stream: int, message: Outgoing, size: int, *, end: bool = False) -> None:
        """Send the next `size` bytes of a message, for which there must be room."""
        state = self._state(stream)
        most = min(self._h2.max_outbound_frame_size, _SEND_FRAME)
        self._h2.outbound_flow_control_window -= size
        state.outbound_flow_control_window -= size
        self._guard.earn(size / 4096)
        while size > most:
            self._write_data(stream, 0, message, most)
            size -= most
        self._write_data(stream, _END_STREAM if end and not message.left - size else 0, message, size)
        if not message.left:
            self._guard.earn(2)
            if end:
                self._end(state)

    def end(self, stream: int) -> None:
        """Say that nothing more comes on the stream (client)."""
        state = self._state(stream)
        self._write(_DATA, _END_STREAM, stream, b"")
        self._end(state)

    def reset(self, stream: int, code: int) -> None:
        """Close the stream at once, unless it is closed."""
        state = self._h2.streams.get(stream)
        if state is not None:
            self._write(_RST_STREAM, 0, stream, _WORD.pack(code))
            state.state_machine.process_input(StreamInputs.SEND_RST_STREAM)
            self._h2.forget(state)

    def consumed(self, stream: int, size: int) -> None:
        """Give `size` bytes of the windows back, in large pieces."""
        if size:
            self._h2.acknowledge_received_data(size, stream)
            self._collect()

    def go_away(self, code: int = ErrorCode.NO_ERROR, message: str = "") -> None:
        """Say that no new stream is welcome; those that are there go on."""
        last = self._h2.highest_inbound_stream_id
        self._write(_GOAWAY, 0, 0, struct.pack(">II", last, code) + message.encode()[:200])

    def is_open(self, stream: int) -> bool:
        """Whether any side may still send on the stream."""
        return stream in self._h2.streams

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._h2.streams)

    @property
    def stream_limit(self) -> int:
        """How many streams the other side lets us open at a time."""
        return int(self._h2.remote_settings.max_concurrent_streams)

    def _state(self, stream: int) -> H2Stream:
        state = self._h2.streams.get(stream)
        if state is None:
            raise StreamGone(f"stream {stream} is closed")
        return state

    def _end(self, state: H2Stream) -> None:
        state.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        if state.closed:
            self._h2.forget(state)

    def _write(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        self._out.append(_HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload)

    def _write_data(self, stream: int, flags: int, message: Outgoing, size: int) -> None:
        self._out.append(_HEAD.pack(size >> 8, size & 0xFF, _DATA, flags, stream))
        self._out += message.take(size)

    def _collect(self) -> None:
        """Take over what h2 itself wants to say (acknowledgements, window updates, resets)."""
        if data := self._h2.data_to_send():
            self._out.append(data)


class _Block:
    """A header block that isn't complete yet."""

    __slots__ = ("ended", "parts", "size", "stream")

    def __init__(self, stream: int, ended: bool, parts: list[bytes], size: int) -> None:
        self.stream = stream
        self.ended = ended
        self.parts = parts
        self.size = size


def _unpad(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise ProtocolViolation("a frame's padding is longer than the frame")
    return payload[1 : len(payload) - payload[0]]


def _word(payload: bytes) -> int:
    if len(payload) != _WORD.size:
        raise ProtocolViolation("a frame has the wrong size", ErrorCode.FRAME_SIZE_ERROR)
    return int(_WORD.unpack(payload)[0])


def _violation(error: Exception) -> ProtocolViolation:
    if isinstance(error, ProtocolViolation):
        return error
    if isinstance(error, Flood):
        return ProtocolViolation(str(error), ErrorCode.ENHANCE_YOUR_CALM)
    code = getattr(error, "error_code", ErrorCode.PROTOCOL_ERROR)
    return ProtocolViolation(str(error)[:200], int(code))
