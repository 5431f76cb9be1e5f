"""A container's input and output in the foreground: one loop over stdin, the agent's socket and signals."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, Final, NamedTuple

from tricorn import limits
from tricorn.cli import terminal
from tricorn.cli.detach import DetachKeys
from tricorn.errors import from_problem
from tricorn.exchange import RECEIVE, gone
from tricorn.frames import FROM_AGENT, Frame, FrameDecoder, FrameKind, encode, encode_document

PROXIED: Final = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
_PATIENCE: Final = 3  # so many Ctrl-C on a container that ignores them leave it alone
_PIECE: Final = select.PIPE_BUF  # a pipe that polls writable takes this much without blocking


class Wishes(NamedTuple):
    """What the command asked for: forward stdin, use a terminal, proxy signals, leave by these keys. A
    process that `keeps` on isn't told when the person's terminal hangs up.
    """

    stdin: bool = False
    terminal: bool = False
    signals: bool = True
    keys: bytes = b""
    keeps: bool = False


class Ending(NamedTuple):
    """How a session ended: `exit` is the ExitView, None after the detach keys."""

    exit: dict[str, Any] | None

    @property
    def status(self) -> int:
        return int(self.exit["exit_code"]) & 0xFF if self.exit else 0


class Foreground:
    """Runs one upgraded connection until the exit frame. `first` are bytes that came with the 101.

    Neither side can make it buffer more than `limits.SESSION_BUFFER`: stdin isn't read while the agent
    lags, the socket isn't while stdout lags.
    """

    def __init__(self, link: socket.socket, first: bytes, wishes: Wishes) -> None:
        self._link = link
        self._first = first
        self._wishes = wishes
        self._decoder = FrameDecoder(FROM_AGENT)
        self._outbound = bytearray()
        self._pending = {1: bytearray(), 2: bytearray()}
        self._pieces = {descriptor: _piece(descriptor) for descriptor in (1, 2)}
        self._reading = wishes.stdin
        self._keys = DetachKeys(wishes.keys if wishes.terminal else b"")
        self._interrupts = 0
        self._ended = False
        self._ending = Ending(None)

    def send(self, kind: FrameKind, document: dict[str, Any] | None = None) -> None:
        """Queue a frame for the agent."""
        self._outbound += encode(kind) if document is None else encode_document(kind, document)

    def run(self) -> Ending:
        """Pass everything on until the end; the terminal's mode and the signal handlers are restored.

        Raises the error that the agent sent, Unavailable when the connection broke, KeyboardInterrupt
        after three SIGINT that the container ignored.
        """
        sys.stdout.flush()
        self._link.settimeout(0)
        mode = terminal.raw(0) if self._wishes.stdin and self._wishes.terminal else nullcontext()
        with self._link, _woken_by_signals(self._wishes) as wake, mode:
            self._resize()
            self._take(self._first)
            while not self._finished():
                self._turn(wake)
            self._send()  # what was typed before the detach keys
        return self._ending

    def _finished(self) -> bool:
        return self._keys.detached or (self._ended and not any(self._pending.values()))

    def _turn(self, wake: socket.socket) -> None:
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        for descriptor, mask in self._interests():
            poll.register(descriptor, mask)
        for descriptor, _ in poll.poll():
            if descriptor == wake.fileno():
                self._signals(wake.recv(4096))
            elif descriptor == self._link.fileno():
                self._exchange()
            elif descriptor == 0:
                self._read_stdin()
            else:
                self._write(descriptor)

    def _interests(self) -> Iterator[tuple[int, int]]:
        lagging = sum(map(len, self._pending.values())) >= limits.SESSION_BUFFER
        mask = (0 if lagging else select.POLLIN) | (select.POLLOUT if self._outbound else 0)
        if mask and not self._ended:
            yield self._link.fileno(), mask
        if self._reading and not self._ended and len(self._outbound) < limits.SESSION_BUFFER:
            yield 0, select.POLLIN
        for descriptor, data in self._pending.items():
            if data:
                yield descriptor, select.POLLOUT

    def _exchange(self) -> None:
        """Send and receive what the socket takes and has."""
        self._send()
        if sum(map(len, self._pending.values())) < limits.SESSION_BUFFER:
            self._receive()

    def _send(self) -> None:
        try:
            if self._outbound:
                del self._outbound[: self._link.send(self._outbound)]
        except BlockingIOError:
            pass
        except OSError:
            self._outbound.clear()  # the agent closed its end; its last frames are still to be read

    def _receive(self) -> None:
        try:
            data = self._link.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            raise gone() from error
        if not data:
            self._decoder.close()
            raise gone()
        self._take(data)

    def _take(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self._frame(frame)

    def _frame(self, frame: Frame) -> None:
        match frame.kind:
            case FrameKind.STDOUT:
                self._pending[1] += frame.payload
            case FrameKind.STDERR:
                self._pending[2] += frame.payload
            case FrameKind.EXIT:
                self._ended, self._ending = True, Ending(frame.document())
            case FrameKind.ERROR:
                raise from_problem(frame.document())
            case _:
                self._resize()  # started: a size that was sent before may have met no terminal yet

    def _read_stdin(self) -> None:
        try:
            data = os.read(0, RECEIVE)
        except OSError:  # EIO: the terminal hung up
            data = b""
        if not data and self._wishes.keeps and self._wishes.terminal:
            raise KeyboardInterrupt  # its end of file would end the shell at the other side
        passed = self._keys.feed(data) if data else self._keys.flush()
        if passed:
            self._outbound += encode(FrameKind.STDIN, passed)
        if not data:
            self._reading = False
            self.send(FrameKind.STDIN_CLOSED)

    def _write(self, descriptor: int) -> None:
        data = self._pending[descriptor]
        try:
            del data[: os.write(descriptor, data[: self._pieces[descriptor]])]
        except BlockingIOError:
            pass  # somebody who shares it made it non-blocking, and was quicker
        except OSError as error:
            if error.errno == errno.EIO:  # the terminal hung up: nobody reads any more
                raise BrokenPipeError from error
            raise

    def _signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGWINCH:
                self._resize()
                continue
            if number == signal.SIGHUP and self._wishes.keeps:
                raise KeyboardInterrupt
            if number == signal.SIGINT:
                self._interrupts += 1
                if self._interrupts >= _PATIENCE:
                    raise KeyboardInterrupt
            self.send(FrameKind.SIGNAL, {"signal": signal.Signals(number).name})

    def _resize(self) -> None:
        if self._wishes.terminal and (found := terminal.size(0) or terminal.size(1)):
            self.send(FrameKind.RESIZE, {"rows": found[0], "columns": found[1]})


def _piece(descriptor: int) -> int:
    """Return how much to write at once: files never block, all else may."""
    return RECEIVE if stat.S_ISREG(os.fstat(descriptor).st_mode) else _PIECE


@contextmanager
def _woken_by_signals(wishes: Wishes) -> Iterator[socket.socket]:
    """Give a socket that gets each signal's number as a byte. Ignored signals (nohup) stay ignored."""
    wanted = (*(PROXIED if wishes.signals else ()), *((signal.SIGWINCH,) if wishes.terminal else ()))
    reader, writer = socket.socketpair()
    reader.settimeout(0)
    writer.settimeout(0)
    former = {number: signal.getsignal(number) for number in wanted}
    descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        for number, handler in former.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _noted)
        yield reader
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)
        reader.close()
        writer.close()


def _noted(number: int, frame: FrameType | None) -> None:
    """Do nothing: the wake-up descriptor has the number already."""
