"""Where one stream of a process goes, read from what a client of containerd's API gave for it."""

from __future__ import annotations

import os
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from attrs import evolve, frozen

from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.model.stdio import Stdio

Kind = Literal["null", "path", "file", "program", "stream"]
_LONGEST: Final = 4096
_STREAMING: Final = frozenset({"streaming", "grpc+unix", "ttrpc+unix"})
_ID_KEYS: Final = ("streaming_id", "stream_id", "id")


@frozen
class Place:
    """`path` is a FIFO or file that exists, `file` one that may be made, `program` one that takes both
    output streams and is started with `arguments`. `stream` is the id of one that the client opened with
    the streaming service.
    """

    kind: Kind = "null"
    path: str = ""
    arguments: tuple[str, ...] = ()
    stream: str = ""


NOWHERE: Final = Place()


@frozen
class Places:
    """The places of a process's three streams; with a terminal there is no `stderr`."""

    stdin: Place = NOWHERE
    stdout: Place = NOWHERE
    stderr: Place = NOWHERE
    terminal: bool = False

    @property
    def program(self) -> Place | None:
        return self.stdout if self.stdout.kind == "program" else None


def parse_places(stdio: Stdio) -> Places:
    """Read the three. InvalidArgument names the stream; Unimplemented for other schemes than those of
    `parse_place`.
    """
    places = Places(
        parse_place(stdio.stdin, "stdin"),
        parse_place(stdio.stdout, "stdout"),
        NOWHERE if stdio.terminal else parse_place(stdio.stderr, "stderr"),
        stdio.terminal,
    )
    if places.stdin.kind in {"file", "program"}:
        why = stdio.stdin[:200]
        raise InvalidArgument("stdin can only come from a FIFO or a stream", why=why, field="stdin")
    _check_streams(places)
    if "program" not in {places.stdout.kind, places.stderr.kind}:
        return places
    if places.stderr.kind != "null" and places.stderr != places.stdout:
        raise InvalidArgument(
            "a logging program takes stdout and stderr", why="the two differ", field="stderr",
            hint="give the same binary:// address for both",
        )  # fmt: skip
    if places.stdout.kind != "program":
        raise InvalidArgument("a logging program for stderr needs one for stdout", field="stdout")
    return evolve(places, stderr=NOWHERE if stdio.terminal else places.stdout)


def _check_streams(places: Places) -> None:
    named = [place.stream for place in (places.stdin, places.stdout, places.stderr) if place.stream]
    if len(set(named)) < len(named):
        why = "each of stdin, stdout and stderr needs one of its own"
        raise InvalidArgument("a stream is named twice", why=why, field="stdout")


def parse_place(text: str, stream: str) -> Place:
    """Read one place: a path, `fifo://`, `file://`, `binary://`, a stream, or nothing.

    A stream is `streaming://ID`, or the address that a client of containerd's sandboxes makes of where it
    reached us: `grpc+unix://ADDRESS?streaming_id=ID` (the address itself means nothing here).
    """
    if not text:
        return NOWHERE
    if len(text) > _LONGEST or "\0" in text:
        raise InvalidArgument(f"{stream} names no place", why="too long, or a NUL in it", field=stream)
    if "://" not in text:
        return Place("path", _absolute(text, stream))
    parts = urlsplit(text)
    if parts.scheme == "fifo":
        return Place("path", _absolute(unquote(parts.netloc + parts.path), stream))
    if parts.scheme == "file":
        return Place("file", _absolute(unquote(parts.path), stream))
    if parts.scheme == "binary":
        query = parse_qs(parts.query, keep_blank_values=True)
        arguments = tuple(word for key, values in query.items() for word in (key, values[0]))
        return Place("program", _absolute(unquote(parts.path), stream), arguments)
    if parts.scheme in _STREAMING:
        return Place("stream", stream=_stream_id(parts, stream))
    raise Unimplemented(
        f"{stream} by {parts.scheme}://", why="there is FIFO, file, binary and streaming only",
        hint="give the path of a FIFO", field=stream,
    )  # fmt: skip


def _stream_id(parts: SplitResult, stream: str) -> str:
    query = parse_qs(parts.query, keep_blank_values=True)
    named = [values[0] for key in _ID_KEYS for values in (query.get(key, []),) if values]
    if not named and parts.scheme == "streaming":
        named = [unquote(parts.netloc + parts.path).strip("/")]
    if named and named[0]:
        return named[0]
    hint = "streaming://ID, or …?streaming_id=ID"
    raise InvalidArgument(f"{stream} names no stream", why=parts.geturl()[:200], hint=hint, field=stream)


def _absolute(path: str, stream: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"{stream} must be an absolute path", why=repr(path[:200]), field=stream)
    return os.path.normpath(path)
