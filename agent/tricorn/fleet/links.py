"""A conversation with one node's agent, over the standard streams of the command that leads there."""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import IO, Any, Final

import trio

from tricorn.errors import TricornError, Unavailable
from tricorn.exchange import RECEIVE, Body, Call, Exchange, Head, Mark, decode, failure, unreachable
from tricorn.fleet.places import Place
from tricorn.fleet.relay import MARK, READY

_WORDS: Final = 64 * 1024  # bytes that a login may say before the relay does
_PARTING: Final = 2.0  # seconds for ssh to end by itself


class Link:
    """One connection, for one call after another. Made by `connect`; raises TricornError only."""

    def __init__(self, place: Place, process: trio.Process, complaints: IO[bytes]) -> None:
        self._place = place
        self._process = process
        self._complaints = complaints
        self._exchange = Exchange()
        self._rest = b""

    async def call(self, call: Call) -> Any:
        """Send `call` and return its JSON answer."""
        return decode(await self.read(call))

    async def read(self, call: Call) -> bytes:
        """Send `call` and return the body of its answer; raise what it failed with."""
        await self._send(self._exchange.request(call))
        head = await self._next()
        assert isinstance(head, Head)
        body = Body()
        while isinstance(chunk := await self._next(), bytes):
            body.add(chunk)
        if head.failed:
            raise failure(head, body.bytes())
        return body.bytes()

    async def greet(self) -> None:
        """Return when the relay is there. Raises Unavailable with ssh's own words when it isn't."""
        heard = b""
        while True:
            line, newline, rest = heard.partition(b"\n")
            if newline and line.startswith(MARK):
                break
            if newline:
                heard = rest
                continue
            if len(heard) > _WORDS or not (data := await self._receive()):
                raise await self._unreached()
            heard += data
        if (word := line.removeprefix(MARK).strip()) != READY:
            number = int(word.lstrip(b"!") or 0)
            raise unreachable(self._place.socket, OSError(number, os.strerror(number)))
        self._rest = rest

    async def close(self) -> None:
        """End the command; at once, if it doesn't want to."""
        with trio.CancelScope(shield=True):
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            await self._process.stdin.aclose()
            with trio.move_on_after(_PARTING):
                await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            await self._process.stdout.aclose()
            self._complaints.close()

    async def _next(self) -> Head | bytes | Mark:
        while (item := self._exchange.next()) is Mark.NEED_DATA:
            data, self._rest = self._rest, b""
            self._exchange.feed(data or await self._receive())
        return item

    async def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(data)
        except trio.BrokenResourceError as error:
            raise await self._unreached() from error

    async def _receive(self) -> bytes:
        assert self._process.stdout is not None
        return bytes(await self._process.stdout.receive_some(RECEIVE))

    async def _unreached(self) -> TricornError:
        """Return why the command ended before the agent could be asked."""
        with trio.move_on_after(_PARTING):
            await self._process.wait()
        size = os.fstat(self._complaints.fileno()).st_size  # a master that stays behind may write on
        said = os.pread(self._complaints.fileno(), 4096, max(0, size - 4096)).decode("utf-8", "replace")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        why = lines[-1] if lines else f"the command ended with {self._process.returncode}"
        return Unavailable("it can't be reached", why=why)


async def connect(place: Place) -> Link:
    """Start the command that leads to the node and return the link. Whoever calls closes it."""
    if place.trouble is not None:
        raise place.trouble
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - the link closes it
    try:
        process = await trio.lowlevel.open_process(
            place.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints
        )
    except OSError as error:
        complaints.close()
        raise Unavailable(f"{place.command[0]} can't be started", why=error.strerror or str(error)) from error
    link = Link(place, process, complaints)
    try:
        await link.greet()
    except BaseException:
        await link.close()
        raise
    return link
