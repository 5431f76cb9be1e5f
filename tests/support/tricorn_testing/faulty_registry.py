"""A registry that misbehaves on purpose: each phase of a pull has its own list of faults, used up in order.

    registry = FaultyRegistry(layout, layout.tag("v1", …), faults={"layer": [cut(1000), status(503)]})
    async with registry.serving():
        ...  # pull registry.reference

Once a phase's faults are used up it serves what it should, ranges included.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from itertools import count

import trio
from attrs import Factory, define, field

from tricorn_testing.images import ImageLayout
from tricorn_testing.scripted_http import Exchange, Server, serving

REPOSITORY = "team/app"
PHASES = ("token", "resolve", "manifest", "config", "layer", "rest")  # `layer` is the first of the layers


@define
class Served:
    """What an exchange would be answered with if all were well."""

    exchange: Exchange
    phase: str
    body: bytes
    headers: dict[str, str]
    start: int = 0

    async def rightly(self) -> None:
        if self.start:
            last = len(self.body) - 1
            headers = {**self.headers, "Content-Range": f"bytes {self.start}-{last}/{len(self.body)}"}
            await self.exchange.answer(206, headers, self.body[self.start :])
        else:
            await self.exchange.answer(
                200, {**self.headers, "Content-Length": str(len(self.body))}, self.body
            )

    async def raw(self, body: bytes, length: int | None) -> None:
        """Answer with `body` under a head that announces `length` bytes (None: nothing), then close."""
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        first = "HTTP/1.1 200 OK"
        if self.start:
            first = "HTTP/1.1 206 Partial Content"
            lines.append(f"Content-Range: bytes {self.start}-{len(self.body) - 1}/{len(self.body)}")
        if length is not None:
            lines.append(f"Content-Length: {length}")
        await self.exchange.raw("\r\n".join([first, *lines, "", ""]).encode() + body)


Fault = Callable[[Served], Awaitable[None]]


@define
class FaultyRegistry:
    """Serves what `digest` of `layout` needs as REPOSITORY:1. With `guarded`, bearer tokens are wanted."""

    layout: ImageLayout
    digest: str
    faults: Mapping[str, Sequence[Fault]] = Factory(dict)
    guarded: bool = False
    token: str = "token"  # what the tokens begin with
    tokens: set[str] = Factory(set)  # those that are good; tests may clear it
    server: Server = field(init=False)
    _left: dict[str, list[Fault]] = field(init=False)
    _numbers: Callable[[], int] = field(factory=lambda: count().__next__)

    def __attrs_post_init__(self) -> None:
        self._left = {phase: list(self.faults.get(phase, ())) for phase in PHASES}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[FaultyRegistry]:
        async with serving(self._handle) as self.server:
            yield self

    @property
    def reference(self) -> str:
        return f"{self.server.address}/{REPOSITORY}:1"

    def asked(self, phase: str) -> list[Exchange]:
        """The requests of a phase, those that were refused for want of a token included."""
        return [each for each in self.server.seen if self._phase(each) == phase]

    def offsets(self) -> list[int]:
        """Where the requests for the first layer began, in order."""
        return [_start(each) for each in self.asked("layer")]

    @property
    def size(self) -> int:
        """Bytes of the first layer."""
        return int(self.layout.document(self.digest)["layers"][0]["size"])

    def have(self, phase: str, faults: Sequence[Fault]) -> None:
        """Misbehave like this in `phase` from now on."""
        self._left[phase] = list(faults)

    def behaves(self) -> bool:
        """Whether all faults are used up."""
        return not any(self._left.values())

    def mend(self) -> None:
        """Behave from now on."""
        self._left = {phase: [] for phase in PHASES}

    async def _handle(self, exchange: Exchange) -> None:
        phase = self._phase(exchange)
        if (
            self.guarded
            and phase != "token"
            and exchange.headers.get("authorization", "")[7:] not in self.tokens
        ):
            realm = f'Bearer realm="{self.server.url}/token",service="test"'
            await exchange.json(401, {}, {"WWW-Authenticate": realm})
            return
        served = Served(exchange, phase, *self._content(exchange, phase), _start(exchange))
        faults = self._left.get(phase, [])
        await (faults.pop(0)(served) if faults else served.rightly())

    def _phase(self, exchange: Exchange) -> str:
        if exchange.path == "/token":
            return "token"
        if "/manifests/" in exchange.path:
            return "resolve" if exchange.method == "HEAD" else "manifest"
        digest, manifest = exchange.path.rpartition("/")[2], self.layout.document(self.digest)
        if digest == manifest["config"]["digest"]:
            return "config"
        return "layer" if digest == manifest["layers"][0]["digest"] else "rest"

    def _content(self, exchange: Exchange, phase: str) -> tuple[bytes, dict[str, str]]:
        if phase == "token":
            self.tokens.add(token := f"{self.token}-{self._numbers()}")
            return f'{{"token": "{token}"}}'.encode(), {}
        if phase in {"resolve", "manifest"}:
            media_type = self.layout.document(self.digest)["mediaType"]
            headers = {"Content-Type": media_type, "Docker-Content-Digest": self.digest}
            return self.layout.blob(self.digest).read_bytes(), headers
        return self.layout.blob(exchange.path.rpartition("/")[2]).read_bytes(), {}


def _start(exchange: Exchange) -> int:
    match = re.fullmatch(r"bytes=(\d+)-", exchange.headers.get("range", ""))
    return int(match[1]) if match else 0


# ---------------------------------------------------------------- faults
def cut(sent: int) -> Fault:
    """Promise all that is left, send `sent` bytes of it, close; under 0, close without a word."""

    async def fault(served: Served) -> None:
        if sent < 0:
            await served.exchange.raw(b"")
        else:
            rest = served.body[served.start :]
            await served.raw(rest[:sent], len(rest))

    return fault


def status(code: int, headers: Mapping[str, str] | None = None) -> Fault:
    """Refuse with `code`."""

    async def fault(served: Served) -> None:
        await served.exchange.answer(code, headers or {})

    return fault


async def other_bytes(served: Served) -> None:
    """Serve the right number of wrong bytes."""
    rest = bytes(byte ^ 0xFF for byte in served.body[served.start :])
    await served.raw(rest, len(rest))


async def too_short(served: Served) -> None:
    """Announce and serve less than there is."""
    rest = served.body[served.start : -5]
    await served.raw(rest, len(rest))


async def too_long(served: Served) -> None:
    """Announce and serve more than there is."""
    rest = served.body[served.start :] + b"more!"
    await served.raw(rest, len(rest))


async def endless(served: Served) -> None:
    """Serve what there is, then more and more, with no end announced."""
    await served.raw(served.body[served.start :], None)
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await served.exchange.stream.send_all(b"x" * 65536)


async def silence(served: Served) -> None:
    """Take the request, and say nothing."""
    await trio.sleep_forever()


def silent_after(sent: int) -> Fault:
    """Announce all, send `sent` bytes of it, then nothing more."""

    async def fault(served: Served) -> None:
        rest = served.body[served.start :]
        await served.raw(rest[:sent], len(rest))
        await trio.sleep_forever()

    return fault


async def drip(served: Served) -> None:
    """Send a byte now and then: never quiet, never getting anywhere."""
    rest = served.body[served.start :]
    await served.raw(b"", len(rest))
    for offset in range(len(rest)):
        await served.exchange.stream.send_all(rest[offset : offset + 1])
        await trio.sleep(0.05)


async def redirect_loop(served: Served) -> None:
    """Send the client back to where it is."""
    await served.exchange.answer(307, {"Location": served.exchange.target})
