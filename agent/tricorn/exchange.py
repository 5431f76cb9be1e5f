"""One HTTP/1.1 conversation with the agent, without I/O: bytes in, bytes out.

Two drivers share it: `tricorn.client` on Trio, for programs, and the plain blocking socket of the command
line, which mustn't spend a quarter of a second on importing Trio. That is why this file imports neither
Trio nor the model.
"""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import h11

from tricorn import limits
from tricorn.errors import (
    BY_CODE,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TricornError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    from_problem,
)
from tricorn.frames import PROTOCOL, utf8

RECEIVE: Final = 64 * limits.KIB

_BY_STATUS: Final[dict[int, type[TricornError]]] = {
    400: InvalidArgument,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    405: Unimplemented,
    412: FailedPrecondition,
    413: ResourceExhausted,
    431: ResourceExhausted,
    501: Unimplemented,
    503: Unavailable,
}


@dataclass(frozen=True, slots=True)
class Call:
    """A request: `path` is percent-encoded already, `query` and `body` (JSON values) aren't encoded yet.

    `stream` asks for NDJSON lines, `upgrade` for the frame protocol, `detach` for a 202 and an operation.
    The body of an `upload` is bytes of any number, which follow the request (`Exchange.part`).
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    stream: bool = False
    upgrade: bool = False
    detach: bool = False
    upload: bool = False

    def target(self) -> str:
        if not self.query:
            return self.path
        from urllib.parse import urlencode

        return f"{self.path}?{urlencode([(key, utf8(value)) for key, value in self.query])}"

    def headers(self, length: int | None) -> list[tuple[str, str]]:
        headers = [("Host", "tricorn"), ("Accept", "application/x-ndjson" if self.stream else "*/*")]
        if self.upgrade:
            headers += [("Connection", "Upgrade"), ("Upgrade", PROTOCOL)]
        if self.detach:
            headers.append(("Prefer", "respond-async"))
        if self.upload:
            headers += [("Content-Type", "application/octet-stream"), ("Transfer-Encoding", "chunked")]
        elif length is not None:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(length))]
        elif self.method not in ("GET", "DELETE"):
            headers.append(("Content-Length", "0"))
        return headers


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of a response, header names in lower case. 101 opens the frame protocol."""

    status: int
    headers: dict[str, str]

    @property
    def upgraded(self) -> bool:
        return self.status == 101

    @property
    def failed(self) -> bool:
        return self.status >= 400


class Mark(Enum):
    """What `Exchange.next` says when it has neither a head nor bytes."""

    NEED_DATA = "need data"
    END = "end"


class Exchange:
    """The client's side of one connection. `request`, then `feed` and `next` until the end, then again."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.HTTP_HEADERS)

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on the same connection."""
        fresh = self._http.our_state is h11.IDLE
        done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        return fresh or done

    @property
    def trailing(self) -> bytes:
        """The bytes that came after a 101: the first ones of the upgraded protocol."""
        return bytes(self._http.trailing_data[0])

    def request(self, call: Call) -> bytes:
        """Return the bytes that send `call`. Only on a reusable exchange."""
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        body = None if call.body is None else encode(call.body)
        head = h11.Request(
            method=call.method,
            target=call.target(),
            headers=call.headers(None if body is None else len(body)),
        )
        data = self._http.send(head) or b""
        if call.upload:
            return data
        if body:
            data += self._http.send(h11.Data(data=body)) or b""
        return data + (self._http.send(h11.EndOfMessage()) or b"")

    def part(self, data: bytes) -> bytes:
        """Return the bytes that send a part of an upload; of nothing, its end."""
        return self._http.send(h11.Data(data=data) if data else h11.EndOfMessage()) or b""

    def feed(self, data: bytes) -> None:
        """Take what the socket gave; empty means that the agent closed the connection."""
        try:
            self._http.receive_data(data)
        except RuntimeError as error:  # data after an EOF: the driver's mistake, not the agent's
            raise Internal("bytes after the end of the connection", why=str(error)) from error

    def next(self) -> Head | bytes | Mark:
        """Return the head, a piece of the body, END, or NEED_DATA when `feed` is due.

        Raises Unavailable when the connection ended too early, Internal when it isn't HTTP.
        """
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise self._broken(error) from error
        match event:
            case h11.Response():
                return _head(event)
            case h11.InformationalResponse():
                return _head(event) if event.status_code == 101 else self.next()
            case h11.Data():
                return bytes(event.data)
            case h11.EndOfMessage():
                return Mark.END
            case h11.ConnectionClosed():
                raise gone()
            case _:
                return Mark.NEED_DATA

    def _broken(self, error: h11.RemoteProtocolError) -> TricornError:
        if self._http.trailing_data[1]:
            return gone()
        return Internal(
            "the answer isn't HTTP/1.1",
            why=str(error),
            hint="is this the socket of tricornd, and not another's?",
        )


class Lines:
    """Cuts NDJSON bytes into values; a line is bounded by `limits.CLIENT_LINE`."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Return the values of the lines that `data` completes."""
        if b"\n" not in data:
            self._rest += data
            self._check()
            return []
        head, _, rest = data.rpartition(b"\n")
        whole = bytes(self._rest) + head
        self._rest[:] = rest
        self._check()
        return [decode(line) for line in whole.split(b"\n") if line.strip()]

    def finish(self) -> list[Any]:
        """Return the value of a last line that came without its newline."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [decode(rest)] if rest.strip() else []

    def _check(self) -> None:
        if len(self._rest) > limits.CLIENT_LINE:
            raise ResourceExhausted(
                "a line of the agent's answer is too long", why=f"over {limits.CLIENT_LINE} bytes"
            )


class Body:
    """Collects a body, bounded by `limits.CLIENT_BODY`."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > limits.CLIENT_BODY:
            raise ResourceExhausted("the agent's answer is too large", why=f"over {limits.CLIENT_BODY} bytes")

    def bytes(self) -> bytes:
        return bytes(self._data)


def encode(value: Any) -> bytes:
    """Return the JSON of a request's body; InvalidArgument for what JSON has no way to say."""
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise InvalidArgument("the request holds a number that isn't finite", why="JSON has none") from None
    return utf8(text)


def decode(data: bytes) -> Any:
    """Return the JSON value of `data`; Internal when it is none."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise Internal("the agent's answer isn't JSON", why=str(error)) from error


def gone() -> TricornError:
    """Return the error for a connection that ended before its answer did."""
    return Unavailable(
        "the agent closed the connection before the answer was complete",
        hint="see the log of tricornd, and try again when it has restarted",
    )


def unreachable(path: str, error: OSError) -> TricornError:
    """Return the error for a connect to the agent's socket that failed."""
    if error.errno is None:  # Python's own complaint: the path doesn't fit into a socket address
        return InvalidArgument(
            f"{path} can't be a socket", why=str(error), hint="a path has at most 107 bytes", field="--socket"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermissionDenied(
            f"cannot reach the agent at {path}",
            why="permission denied",
            hint="be root or a member of the socket's group",
        )
    return Unavailable(
        f"cannot reach the agent at {path}: is tricornd running?",
        why=(error.strerror or str(error)).lower(),
        hint="start it with `systemctl start tricornd`, or name its socket with --socket or TRICORN_SOCKET",
    )


def failure(head: Head, body: bytes) -> TricornError:
    """Return the error that a response with status 400 or more stands for."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and document.get("code") in BY_CODE:
        return from_problem(document)
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return _BY_STATUS.get(head.status, Internal)(
        f"the agent answered with HTTP status {head.status}", why=text
    )


def outcome(line: Any) -> tuple[str, Any]:
    """Take one line of long work apart: ("progress", Progress) or ("result", value).

    Raises the error that an error line stands for.
    """
    if isinstance(line, dict):
        if isinstance(problem := line.get("error"), dict):
            raise from_problem(problem)
        for key in ("progress", "result"):
            if key in line:
                return key, line[key]
    raise Internal("a line of the agent's answer is neither progress nor result", why=str(line)[:200])


def _head(event: h11.Response | h11.InformationalResponse) -> Head:
    headers = {bytes(name).decode("latin-1"): bytes(value).decode("latin-1") for name, value in event.headers}
    return Head(event.status_code, headers)
