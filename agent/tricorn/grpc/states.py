"""What HTTP/2 frames do to connection, streams, windows and header tables. The only file that knows h2.

Frames come here checked and cut, as calls; what has to be said because of them is in `output`. h2's own
checks of headers are off (`metadata` has ours), and so is its framing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn, cast

import h2.events
import h2.exceptions
import hpack
from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, ConnectionState, H2Connection
from h2.exceptions import StreamClosedError, StreamIDTooLowError
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamInputs, StreamState
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import DataFrame, Frame, HeadersFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from tricorn import limits
from tricorn.grpc.events import (
    DataReceived,
    ErrorCode,
    Event,
    HeadersReceived,
    ProtocolViolation,
    StreamGone,
    StreamReset,
    WindowOpened,
)
from tricorn.grpc.known_blocks import KnownBlocks

TABLE_SIZE: Final = 4096  # of header tables, until settings say otherwise
_FIRST_WINDOW: Final = 65535
_WINDOW_MAX: Final = 2**31 - 1
_OWED: Final = limits.GRPC_CONNECTION_WINDOW // 64
_UNDECODABLE: Final = (hpack.HPACKError, IndexError, TypeError, UnicodeDecodeError)  # older ones raise all
_RECEIVING: Final = (StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL)


def settings_for(*, client: bool) -> dict[int, int]:
    """Return what our side says of itself."""
    settings: dict[int, int] = {
        SettingCodes.HEADER_TABLE_SIZE: TABLE_SIZE,
        SettingCodes.INITIAL_WINDOW_SIZE: limits.GRPC_STREAM_WINDOW,
        SettingCodes.MAX_FRAME_SIZE: limits.GRPC_FRAME,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.GRPC_HEADERS,
    }
    if client:
        settings[SettingCodes.ENABLE_PUSH] = 0
    else:
        settings[SettingCodes.MAX_CONCURRENT_STREAMS] = limits.GRPC_STREAMS
    return settings


class _Connection(H2Connection):
    """h2's connection, entered behind its framing, and past what it does at length for nothing."""

    MAX_CLOSED_STREAMS = limits.GRPC_CLOSED_STREAMS

    def __init__(self, *, client: bool) -> None:
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
        values = {SettingCodes(name): value for name, value in settings_for(client=client).items()}
        self.local_settings = Settings(client=client, initial_values=values)
        self.decoder = KnownBlocks()
        self.increment_flow_control_window(limits.GRPC_CONNECTION_WINDOW - _FIRST_WINDOW)

    @property
    def open_inbound_streams(self) -> int:
        return 0  # not counted by looking at each: too many are refused elsewhere, and not with GOAWAY

    @property
    def open_outbound_streams(self) -> int:
        return len(self.streams)

    def enter(self, frame: Frame) -> list[h2.events.Event]:
        """Do what `receive_data` does with a frame, without describing it to a log that nobody keeps."""
        try:
            replies, events = self._frame_dispatch_table[frame.__class__](frame)
        except (StreamClosedError, StreamIDTooLowError) as error:
            if not self._stream_is_closed_by_reset(error.stream_id):
                raise
            replies = [RstStreamFrame(error.stream_id, error_code=ErrorCode.STREAM_CLOSED)]
            events = getattr(error, "_events", [])
        self._prepare_for_sending(replies)
        return cast("list[h2.events.Event]", events)

    def open_stream(self, number: int, block: bytes, *, ended: bool) -> list[tuple[bytes, bytes]]:
        """Take a request of a new stream; return its headers, which are nobody's business here."""
        fields = list(self.decoder.decode(block, raw=True))
        if self.state_machine.state is ConnectionState.IDLE:
            self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        state = self._begin_new_stream(number, AllowedStreamIDs.ODD)
        state.state_machine.process_input(StreamInputs.RECV_HEADERS)
        if ended:
            state.state_machine.process_input(StreamInputs.RECV_END_STREAM)
        return cast("list[tuple[bytes, bytes]]", fields)

    def give_back(self, size: int) -> None:
        """Give a part of the connection's window back that no stream needs any more."""
        increment = self._inbound_flow_control_window_manager.process_bytes(size)
        if increment:
            self._prepare_for_sending([WindowUpdateFrame(0, window_increment=increment)])

    def take_data(self, state: H2Stream, content: bytes, size: int, *, ended: bool) -> None:
        """Count data of an open stream, which is delivered without h2's help."""
        self._inbound_flow_control_window_manager.window_consumed(size)
        state.receive_data(content, ended, size)

    def forget(self, state: H2Stream) -> None:
        if self.streams.pop(state.stream_id, None) is not None:
            self._closed_streams[state.stream_id] = state.closed_by


class States:
    """One connection's. Receiving raises ProtocolViolation, sending StreamGone."""

    def __init__(self, *, client: bool) -> None:
        self._h2 = _Connection(client=client)
        self._client = client
        self._owed = 0  # bytes of the connection's window that are to be given back

    # ------------------------------------------------------------ received
    def data(self, stream: int, content: bytes, size: int, *, ended: bool) -> list[Event]:
        """DATA of which `size` bytes count for the windows."""
        state = self._h2.streams.get(stream)
        if state is not None and state.state_machine.state in _RECEIVING:
            try:
                self._h2.take_data(state, content, size, ended=ended)
            except h2.exceptions.ProtocolError as error:
                raise _violation(error) from None
            if state.closed:
                self._h2.forget(state)
            return [DataReceived(stream, content, size, ended)]
        frame = DataFrame(stream, content) if stream else _no_stream()
        if size != len(content):
            frame.flags.add("PADDED")
            frame.pad_length = size - len(content) - 1
        return self._enter(frame)

    def headers(self, stream: int, block: bytes, *, ended: bool) -> list[Event]:
        if not self._client and stream % 2 and stream > self._h2.highest_inbound_stream_id:
            try:
                fields = self._h2.open_stream(stream, block, ended=ended)
            except hpack.OversizedHeaderListError as error:
                raise ProtocolViolation(str(error), ErrorCode.ENHANCE_YOUR_CALM) from None
            except _UNDECODABLE as error:
                raise ProtocolViolation(str(error)[:200], ErrorCode.COMPRESSION_ERROR) from None
            return [HeadersReceived(stream, fields, ended)]
        frame = HeadersFrame(stream, block) if stream else _no_stream()
        if ended:
            frame.flags.add("END_STREAM")
        return self._enter(frame)

    def reset(self, stream: int, code: int) -> list[Event]:
        ours = stream % 2 == int(self._client)
        states = self._h2
        if stream > (states.highest_outbound_stream_id if ours else states.highest_inbound_stream_id):
            raise ProtocolViolation("RST_STREAM of an idle stream")
        return self._enter(RstStreamFrame(stream, error_code=code) if stream else _no_stream())

    def settings(self, entries: Mapping[int, int]) -> None:
        values = dict(entries)
        if SettingCodes.HEADER_TABLE_SIZE in values:  # a larger table than ours is never needed
            values[SettingCodes.HEADER_TABLE_SIZE] = min(values[SettingCodes.HEADER_TABLE_SIZE], TABLE_SIZE)
        self._enter(SettingsFrame(0, settings=values))

    def window_update(self, stream: int, increment: int) -> list[Event]:
        state = self._h2.streams.get(stream)
        if stream and (state is None or state.outbound_flow_control_window + increment > _WINDOW_MAX):
            return self._enter(WindowUpdateFrame(stream, window_increment=increment))
        if state is not None:
            state.outbound_flow_control_window += increment
        else:
            self._h2.outbound_flow_control_window += increment
            if self._h2.outbound_flow_control_window > _WINDOW_MAX:
                raise ProtocolViolation("the connection's window is too large", ErrorCode.FLOW_CONTROL_ERROR)
        return [WindowOpened(stream)]

    def _enter(self, frame: Frame) -> list[Event]:
        """Let h2 judge the frame, and turn its answer into our events."""
        number = frame.stream_id
        try:
            events = [event for item in self._h2.enter(frame) if (event := _event(number, item)) is not None]
        except (h2.exceptions.ProtocolError, HyperframeError) as error:
            raise _violation(error) from None
        state = self._h2.streams.get(number)
        if state is not None and state.closed:
            self._h2.forget(state)
        return events

    def output(self) -> bytes:
        """Return what these calls want said: acknowledgements, window updates, resets."""
        return self._h2.data_to_send()

    # ------------------------------------------------------------ sent
    def request(self, fields: Sequence[tuple[bytes, bytes]]) -> int:
        """Open a stream; return its number. The headers are in the output."""
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, fields)
        except h2.exceptions.ProtocolError as error:
            raise StreamGone(str(error)) from None
        return number

    def sent_data(self, stream: int, size: int) -> None:
        """Data is sent, for which there was room."""
        self._state(stream).outbound_flow_control_window -= size
        self._h2.outbound_flow_control_window -= size

    def sent_end(self, stream: int) -> None:
        """Our side of the stream is closed."""
        state = self._state(stream)
        state.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        if state.closed:
            self._h2.forget(state)

    def sent_reset(self, stream: int) -> None:
        state = self._state(stream)
        state.state_machine.process_input(StreamInputs.SEND_RST_STREAM)
        self._h2.forget(state)

    def consumed(self, stream: int, size: int) -> None:
        """`size` received bytes are out of the way: their part of the windows goes back, in large pieces."""
        state = self._h2.streams.get(stream)
        if state is not None and state.state_machine.state in _RECEIVING:
            self._h2.acknowledge_received_data(size, stream)
            return
        self._owed += size
        if self._owed >= _OWED:
            self._h2.give_back(self._owed)
            self._owed = 0

    # ------------------------------------------------------------ seen
    def is_open(self, stream: int) -> bool:
        """Whether any side may still send on the stream."""
        state = self._h2.streams.get(stream)
        return state is not None and not state.closed

    @property
    def open(self) -> int:
        """How many streams are open."""
        return len(self._h2.streams)

    @property
    def limit(self) -> int:
        """How many streams the other side lets us open at a time."""
        return int(self._h2.remote_settings.max_concurrent_streams)

    @property
    def last(self) -> int:
        """The latest stream of the other side."""
        return int(self._h2.highest_inbound_stream_id)

    @property
    def frame_size(self) -> int:
        """How large a frame the other side takes."""
        return int(self._h2.max_outbound_frame_size)

    @property
    def window(self) -> int:
        """How many bytes the connection may send now."""
        return int(self._h2.outbound_flow_control_window)

    def stream_window(self, stream: int) -> int:
        """Return how many bytes the stream may send now, if the connection may."""
        return int(self._state(stream).outbound_flow_control_window)

    def _state(self, stream: int) -> H2Stream:
        state = self._h2.streams.get(stream)
        if state is None or state.closed:  # closed and still there: by what ended the connection
            raise StreamGone(f"stream {stream} is closed")
        return state


def _violation(error: Exception) -> ProtocolViolation:
    code = getattr(error, "error_code", ErrorCode.PROTOCOL_ERROR)
    return ProtocolViolation(str(error)[:200], int(code))


def _no_stream() -> NoReturn:
    raise ProtocolViolation("a frame of a stream without its number")


def _event(number: int, item: h2.events.Event) -> Event | None:
    match item:
        case h2.events.RequestReceived() | h2.events.ResponseReceived() | h2.events.TrailersReceived():
            fields, ended = list(item.headers or ()), item.stream_ended is not None
            return HeadersReceived(number, fields, ended)
        case h2.events.StreamReset():
            return StreamReset(number, int(item.error_code or 0))
    return None
