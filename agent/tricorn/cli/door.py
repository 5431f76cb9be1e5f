"""The command line's way to the agent: a blocking Unix socket around the sans-IO exchange."""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tricorn.client import calls
from tricorn.errors import TricornError, Unavailable
from tricorn.exchange import (
    RECEIVE,
    Body,
    Call,
    Exchange,
    Head,
    Lines,
    Mark,
    decode,
    failure,
    gone,
    outcome,
    unreachable,
)

ReportLine = Callable[[dict[str, Any]], None]
AT_ONCE = 8  # calls of one command; further ones wait for the first of these

__all__ = ["Door", "calls"]


class Door:
    """Talks to the agent at `path`; keeps its connection between calls. Raises TricornError only.

    `timeout` (seconds) bounds each wait for the agent; none by default, as calls may wait for long work.
    """

    def __init__(self, path: str, *, timeout: float | None = None) -> None:
        self.path = path
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._exchange = Exchange()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def call(self, call: Call) -> Any:
        """Send `call` and return its JSON answer (None for an empty one)."""
        self.send(call)
        return self.answer()

    def answer(self) -> Any:
        """Return the JSON answer to the call that was sent (None for an empty one)."""
        body = self._whole()
        return decode(body) if body else None

    def read(self, call: Call) -> bytes:
        """Send `call` and return the whole body of its answer."""
        self.send(call)
        return self._whole()

    def ask_ahead(self, calls: Iterable[Call]) -> Iterator[Callable[[], Any]]:
        """Send calls over connections of their own, `AT_ONCE` of them under way at a time; yield for each, in
        their order, what waits for its JSON answer.
        """
        under_way: deque[Callable[[], Any]] = deque()
        for call in calls:
            under_way.append(_Asked(self.path, call))
            if len(under_way) == AT_ONCE:
                yield under_way.popleft()
        yield from under_way

    def _whole(self) -> bytes:
        head = self._head()
        body = Body()
        for chunk in self._chunks():
            body.add(chunk)
        if head.failed:
            raise failure(head, body.bytes())
        return body.bytes()

    def chunks(self, call: Call) -> Iterator[bytes]:
        """Send `call` and yield its body as it arrives."""
        head = self._begin(call)
        if head.failed:
            raise failure(head, b"".join(self._chunks()))
        yield from self._chunks()

    def lines(self, call: Call) -> Iterator[Any]:
        """Send `call` and yield the values of its NDJSON lines as they arrive."""
        lines = Lines()
        for chunk in self.chunks(call):
            yield from lines.feed(chunk)
        yield from lines.finish()

    def work(self, call: Call, report: ReportLine) -> Any:
        """Send long work with `stream` set, hand each Progress to `report` and return the result.

        Leaving early (Ctrl-C) closes the connection, and the agent cancels the work.
        """
        for line in self.lines(call):
            kind, value = outcome(line)
            if kind == "result":
                self.close()
                return value
            report(value)
        raise gone()

    def upload(self, call: Call, parts: Iterable[bytes]) -> Any:
        """Send `call` with a body of `parts` and return its JSON answer.

        An answer that comes before the end of the body is a refusal: the rest isn't sent.
        """
        link = self._connected()
        try:
            link.sendall(self._exchange.request(call))
            for part in parts:
                if select.select([link], [], [], 0)[0]:
                    break
                if part:
                    link.sendall(self._exchange.part(part))
            else:
                link.sendall(self._exchange.part(b""))
        except TimeoutError as error:
            raise self._slow() from error
        except OSError:
            pass  # it hung up: what it said before is there to be read
        head = self._step()
        assert isinstance(head, Head)
        body = b"".join(self._chunks())
        if head.failed:
            self.close()
            raise failure(head, body)
        return decode(body) if body else None

    def upgrade(self, call: Call) -> tuple[socket.socket, bytes]:
        """Send `call` and return the socket, the caller's now, and the first bytes that followed the 101."""
        head = self._begin(call)
        if not head.upgraded:
            body = b"".join(self._chunks())
            raise failure(head, body) if head.failed else Unavailable("the agent did not switch protocols")
        assert self._socket is not None
        taken, self._socket = self._socket, None
        return taken, self._exchange.trailing

    def _begin(self, call: Call) -> Head:
        self.send(call)
        return self._head()

    def send(self, call: Call) -> None:
        """Send `call`, whose `answer` is to be taken before another is sent."""
        link = self._connected()
        data = self._exchange.request(call)
        try:
            link.sendall(data)
        except TimeoutError as error:
            raise self._slow() from error
        except OSError as error:
            raise gone() from error

    def _head(self) -> Head:
        head = self._step()
        assert isinstance(head, Head)
        return head

    def _connected(self) -> socket.socket:
        if self._socket is None or not self._exchange.reusable:
            self.close()
            self._socket, self._exchange = connect(self.path, self._timeout), Exchange()
        return self._socket

    def _chunks(self) -> Iterator[bytes]:
        while isinstance(chunk := self._step(), bytes):
            yield chunk

    def _step(self) -> Head | bytes | Mark:
        assert self._socket is not None
        while (item := self._exchange.next()) is Mark.NEED_DATA:
            try:
                data = self._socket.recv(RECEIVE)
            except TimeoutError as error:
                raise self._slow() from error
            except OSError as error:
                raise gone() from error
            self._exchange.feed(data)
        return item

    def _slow(self) -> TricornError:
        return Unavailable(f"the agent at {self.path} doesn't answer", why=f"waited {self._timeout:g} s")


class _Asked:
    """A call that was sent over a connection of its own; called, it waits for the answer."""

    def __init__(self, path: str, call: Call) -> None:
        self._door = Door(path)
        self._refused: TricornError | None = None
        try:
            self._door.send(call)
        except TricornError as error:
            self._refused = error

    def __call__(self) -> Any:
        try:
            if self._refused:
                raise self._refused
            return self._door.answer()
        finally:
            self._door.close()


def connect(path: str, timeout: float | None = None) -> socket.socket:
    """Connect to the agent's socket. Unavailable when nobody listens, PermissionDenied when not allowed."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    link.settimeout(timeout)
    try:
        link.connect(path)
    except OSError as error:
        link.close()
        raise unreachable(path, error) from error
    return link
