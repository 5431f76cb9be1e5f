"""HTTP/2 without I/O: bytes in, events out; calls in, bytes out.

Ahead of the states that h2 keeps, frames are cut and checked here (size, floods, what gRPC never needs);
behind them, frames to be sent are written directly, since their shape is always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from tricorn import limits
from tricorn.grpc import frames
from tricorn.grpc.events import (
    ErrorCode,
    Event,
    GoneAway,
    ProtocolViolation,
    Ready,
    StreamGone,
    StreamReset,
    WindowOpened,
)
from tricorn.grpc.floods import Flood, FloodGuard
from tricorn.grpc.frames import Frame, FrameCutter, HeaderBlock
from tricorn.grpc.framing import Buffer, Outgoing
from tricorn.grpc.hpack_literals import NO_TABLE
from tricorn.grpc.states import TABLE_SIZE, States, settings_for

_INITIAL_WINDOW, _HEADER_TABLE = 4, 1  # names of settings
_FRAMES_AT_ONCE: Final = 64
_MESSAGE_WORTH: Final = 4  # frames of the other side that a message may bring about
_RESET_COST: Final = 14  # more than the headers of a stream earn
_SEND_FRAME: Final = 256 * limits.KIB  # larger frames gain nothing, and hold up other streams


class Engine:
    """One side of a connection. What it has to say is gathered for `take_output`."""

    def __init__(self, *, client: bool, guard: FloodGuard | None = None) -> None:
        self._states = States(client=client)
        self._guard = guard or FloodGuard()
        self._cutter = FrameCutter(client=client)
        self._block: HeaderBlock | None = None
        self._pongs: list[Buffer] = []
        self._shrink = False  # the other side's header table became smaller than ours may grow
        self._out: list[Buffer] = [frames.PREFACE] if client else []
        self._write(frames.SETTINGS, 0, 0, frames.encode_settings(settings_for(client=client)))
        self._collect()

    # ------------------------------------------------------------ receiving
    def feed(self, data: bytes) -> None:
        """Add received bytes; at most one frame and what was fed last are held."""
        self._cutter.feed(data)

    def events(self) -> tuple[list[Event], bool]:
        """Return what some of the received frames mean, and whether there are more to look at.

        Raises ProtocolViolation; the GOAWAY that belongs to it is among the output then.
        """
        events: list[Event] = []
        try:
            for _ in range(_FRAMES_AT_ONCE):
                frame = self._cutter.next()
                if frame is None:
                    return events, False
                self._act(frame, events)
        except Flood as flood:
            self.go_away(ErrorCode.ENHANCE_YOUR_CALM, str(flood))
            raise ProtocolViolation(str(flood), ErrorCode.ENHANCE_YOUR_CALM) from None
        except ProtocolViolation as violation:
            self.go_away(violation.code, str(violation))
            raise
        finally:
            self._collect()
        return events, True

    def _act(self, frame: Frame, events: list[Event]) -> None:
        if self._block is not None and frame.kind != frames.CONTINUATION:
            raise ProtocolViolation("another frame inside a header block")
        handler = self._HANDLERS.get(frame.kind)
        if handler is not None:
            handler(self, frame, events)
        else:
            self._guard.spend(1)  # unknown: to be ignored (RFC 9113, 5.5)

    def _on_data(self, frame: Frame, events: list[Event]) -> None:
        content, size = frames.content_of(frame), len(frame.payload)
        ended = bool(frame.flags & frames.END_STREAM)
        if not self._states.is_open(frame.stream):
            self._guard.spend(1)
        elif len(content) >= 16:
            self._guard.earn(min(size / 4096, 4.0))
        elif not ended:
            self._guard.spend(0.25 if content else 1.0)
        events += self._count_resets(self._states.data(frame.stream, content, size, ended=ended))

    def _on_headers(self, frame: Frame, events: list[Event]) -> None:
        ended = bool(frame.flags & frames.END_STREAM)
        self._block = HeaderBlock(frame.stream, ended=ended, first=frames.content_of(frame))
        self._continue(self._block, frame.flags, events)

    def _on_continuation(self, frame: Frame, events: list[Event]) -> None:
        block = self._block
        if block is None or block.stream != frame.stream:
            raise ProtocolViolation("a CONTINUATION frame without its HEADERS")
        self._guard.spend(1)
        block.add(frame.payload)
        self._continue(block, frame.flags, events)

    def _continue(self, block: HeaderBlock, flags: int, events: list[Event]) -> None:
        if not flags & frames.END_HEADERS:
            return
        self._block = None
        self._guard.spend(block.size / 64)
        self._guard.earn(10)
        events += self._count_resets(self._states.headers(block.stream, block.whole(), ended=block.ended))

    def _count_resets(self, events: list[Event]) -> list[Event]:
        """A stream's error makes us reset it: no cheaper for its cause than a reset of its own."""
        for event in events:
            if isinstance(event, StreamReset):
                self._guard.spend(_RESET_COST)
        return events

    def _on_reset(self, frame: Frame, events: list[Event]) -> None:
        self._guard.spend(_RESET_COST)
        events += self._states.reset(frame.stream, frames.word_of(frame))

    def _on_settings(self, frame: Frame, events: list[Event]) -> None:
        entries = frames.settings_of(frame)
        self._guard.spend(20 + self._states.open / 8)
        if frame.flags & frames.ACK:
            return
        self._states.settings(entries)
        if entries.get(_HEADER_TABLE, TABLE_SIZE) < TABLE_SIZE:
            self._shrink = True
        events.append(Ready())
        if _INITIAL_WINDOW in entries:
            events.append(WindowOpened(-1))

    def _on_ping(self, frame: Frame, _events: list[Event]) -> None:
        if frame.stream or len(frame.payload) != 8:
            raise ProtocolViolation("a PING frame is malformed", ErrorCode.FRAME_SIZE_ERROR)
        self._guard.spend(1)
        if not frame.flags & frames.ACK:
            self._pongs.append(frames.encode(frames.PING, frames.ACK, 0, frame.payload))

    def _on_goaway(self, frame: Frame, events: list[Event]) -> None:
        self._guard.spend(20)
        events.append(GoneAway(*frames.goaway_of(frame)))

    def _on_window_update(self, frame: Frame, events: list[Event]) -> None:
        self._guard.spend(1)
        increment = frames.word_of(frame) & frames.LAST_STREAM
        if not increment:
            raise ProtocolViolation("a WINDOW_UPDATE frame opens nothing")
        events += self._count_resets(self._states.window_update(frame.stream, increment))

    def _on_priority(self, frame: Frame, _events: list[Event]) -> None:
        if not frame.stream or len(frame.payload) != 5:
            raise ProtocolViolation("a PRIORITY frame is malformed", ErrorCode.FRAME_SIZE_ERROR)
        self._guard.spend(1)

    def _on_push_promise(self, _frame: Frame, _events: list[Event]) -> None:
        raise ProtocolViolation("nobody asked for pushed streams")

    _HANDLERS: ClassVar[dict[int, Callable[[Engine, Frame, list[Event]], None]]] = {
        frames.DATA: _on_data,
        frames.HEADERS: _on_headers,
        frames.PRIORITY: _on_priority,
        frames.RST_STREAM: _on_reset,
        frames.SETTINGS: _on_settings,
        frames.PUSH_PROMISE: _on_push_promise,
        frames.PING: _on_ping,
        frames.GOAWAY: _on_goaway,
        frames.WINDOW_UPDATE: _on_window_update,
        frames.CONTINUATION: _on_continuation,
    }

    # ------------------------------------------------------------ sending
    def take_output(self) -> list[Buffer]:
        """Return what there is to send."""
        out, self._out = self._out, []
        return out

    @property
    def pinged(self) -> bool:
        """Whether the other side waits for answers to pings."""
        return bool(self._pongs)

    def answer_pings(self) -> None:
        """Put the answers to the pings so far among the output."""
        self._out += self._pongs
        self._pongs = []

    def request(self, fields: Sequence[tuple[bytes, bytes]]) -> int:
        """Open a stream (client) and return its number. Raises StreamGone when no more can be opened."""
        number = self._states.request(fields)
        self._collect()
        return number

    def headers(self, stream: int, block: bytes, *, end: bool) -> None:
        """Send a header block of literals as answer or trailers; raise StreamGone."""
        if not self._states.is_open(stream):
            raise StreamGone(f"stream {stream} is closed")
        if self._shrink:
            self._shrink = False
            block = NO_TABLE + block
        most = self._states.frame_size
        kind, flags = frames.HEADERS, frames.END_STREAM if end else 0
        while len(block) > most:
            self._write(kind, flags, stream, block[:most])
            kind, flags, block = frames.CONTINUATION, 0, block[most:]
        self._write(kind, flags | frames.END_HEADERS, stream, block)
        if end:
            self._states.sent_end(stream)

    def room(self, stream: int) -> tuple[int, int]:
        """Return how many bytes the stream and the connection may send now; raise StreamGone."""
        return self._states.stream_window(stream), self._states.window

    @property
    def window(self) -> int:
        """How many bytes the connection may send now."""
        return self._states.window

    def data(self, stream: int, message: Outgoing, size: int, *, end: bool = False) -> None:
        """Send the next `size` bytes of a message, for which there must be room; raise StreamGone."""
        self._states.sent_data(stream, size)
        self._guard.earn(size / 4096)
        most = min(self._states.frame_size, _SEND_FRAME)
        while size > most:
            self._write_data(stream, 0, message, most)
            size -= most
        last = end and message.left == size
        self._write_data(stream, frames.END_STREAM if last else 0, message, size)
        if not message.left:
            self._guard.earn(_MESSAGE_WORTH)
        if last:
            self._states.sent_end(stream)

    def end(self, stream: int) -> None:
        """Say that nothing more comes on the stream (client); raise StreamGone."""
        self._states.sent_end(stream)
        self._write(frames.DATA, frames.END_STREAM, stream, b"")

    def reset(self, stream: int, code: int) -> None:
        """Close the stream at once, unless it is closed."""
        if self._states.is_open(stream):
            self._write(frames.RST_STREAM, 0, stream, frames.encode_word(code))
            self._states.sent_reset(stream)

    def consumed(self, stream: int, size: int) -> None:
        """Give `size` bytes of the windows back, in large pieces."""
        if size:
            self._states.consumed(stream, size)
            self._collect()

    def worked(self) -> None:
        """A message was taken by whom it was for."""
        self._guard.earn(_MESSAGE_WORTH)

    def go_away(self, code: int = ErrorCode.NO_ERROR, message: str = "") -> None:
        """Say that no new stream is welcome; those that are there go on."""
        self._write(frames.GOAWAY, 0, 0, frames.encode_goaway(self._states.last, code, message))

    def is_open(self, stream: int) -> bool:
        """Whether any side may still send on the stream."""
        return self._states.is_open(stream)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return self._states.open

    @property
    def stream_limit(self) -> int:
        """How many streams the other side lets us open at a time."""
        return self._states.limit

    def _write(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._out.append(frames.encode(kind, flags, stream, payload))

    def _write_data(self, stream: int, flags: int, message: Outgoing, size: int) -> None:
        self._out.append(frames.encode_head(frames.DATA, flags, stream, size))
        self._out += message.take(size)

    def _collect(self) -> None:
        if data := self._states.output():
            self._out.append(data)
