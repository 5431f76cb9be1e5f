"""What nodes say to each other when a container moves: a few requests on the door for other nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec
import structlog
from attrs import frozen

from tricorn.api.http.codec import encode
from tricorn.api.http.connection import BodyReader, Site
from tricorn.api.http.problems import mistake
from tricorn.api.http.replies import Reply, Whole, problem
from tricorn.api.http.wire import Head
from tricorn.errors import InvalidArgument, NotFound, TricornError
from tricorn.limits import MIGRATION_WAIT
from tricorn.model.migrations import PATH, Offer, Pull, Seed, Start
from tricorn.rules.authorise import Peer
from tricorn.rules.peers import Identity
from tricorn.service.migrations import MigrationService
from tricorn.structuring import structure

log = structlog.get_logger(__name__)
T = TypeVar("T")
_TARGET: Final = re.compile(
    rf"{PATH}(?:/([a-z0-9-]{{8,64}})(?:/([a-z]+)(?:/(sha256:[0-9a-f]{{64}}|[1-9][0-9]?))?)?)?"
)


class Allowance(Protocol):
    @property
    def names(self) -> Sequence[str]: ...


@frozen
class _Refusal:
    """Why the source gives a migration up."""

    why: str = ""


class MigrationSite:
    """Answers nodes that bring containers; `allowed` names them. What they may bring, the service decides."""

    def __init__(self, service: MigrationService, allowed: Sequence[Allowance]) -> None:
        self._service = service
        self._allowed = allowed

    def knows(self, peer: Identity) -> bool:
        """Return whether the peer may bring anything at all."""
        return any(peer.is_named(name) for item in self._allowed for name in item.names)

    async def answer(self, head: Head, body: BodyReader, peer: Identity) -> Reply:
        """Answer one request; failures are problem documents."""
        try:
            result = await self._result(head, body, peer)
            return Whole(200, encode(result) if result is not None else b"{}")
        except TricornError as error:
            log.info("a peer's container refused", peer=peer.label, error=error.one_line())
            return problem(error)
        except Exception:
            log.exception("peer's request failed", path=head.target[:300], peer=peer.label)
            return problem(mistake())

    async def _result(self, head: Head, body: BodyReader, peer: Identity) -> object:
        path, _, query = head.target.partition("?")
        match = _TARGET.fullmatch(path)
        if match is None:
            raise NotFound("there is no such path")
        identity, verb, part = match[1] or "", match[2] or "", match[3] or ""
        if head.method == "PUT" and identity:
            await self._received(peer, identity, verb, part, body)
            return None
        if head.method == "GET" and identity and not verb:
            wait = MIGRATION_WAIT if query == "wait=1" else 0.0
            return await self._service.arrivals.state(peer, identity, wait=wait)
        if head.method == "POST" and not part:
            return await self._told(peer, identity, verb, body)
        raise NotFound("there is no such path")

    async def _received(self, peer: Identity, identity: str, verb: str, part: str, body: BodyReader) -> None:
        """Take a long body."""
        match verb:
            case "blobs" if part:
                await self._service.arrivals.blob(peer, identity, part, body.piece)
            case "rounds" if part.isdigit():
                await self._service.arrivals.round(peer, identity, int(part), body.piece)
            case "dump":
                await self._service.arrivals.dump(peer, identity, body.piece)
            case _:
                raise NotFound("there is no such path")

    async def _told(self, peer: Identity, identity: str, verb: str, body: BodyReader) -> object:
        """Act on a short message."""
        arrivals = self._service.arrivals
        match verb:
            case "" if not identity:
                return await arrivals.offer(peer, await _read(body, Offer))
            case "seed":
                return await arrivals.seed(peer, identity, await _read(body, Seed))
            case "pull":
                return await arrivals.pull(peer, identity, await _read(body, Pull))
            case "start":
                return await arrivals.start(peer, identity, await _read(body, Start))
            case "refuse":
                return await arrivals.refuse(peer, identity, (await _read(body, _Refusal)).why)
            case "done":
                return await arrivals.done(peer, identity)
        raise NotFound("there is no such path")


class PeerSite:
    """Answers one peer that may bring containers, and have images as far as `images` knows it."""

    def __init__(self, images: Site, migrations: MigrationSite, peer: Identity) -> None:
        self._images = images
        self._migrations = migrations
        self._peer = peer

    def endless(self, head: Head) -> bool:
        return self._images.endless(head)

    async def answer(self, head: Head, body: BodyReader, peer: Peer) -> Reply:
        if head.target.startswith(PATH):
            return await self._migrations.answer(head, body, self._peer)
        return await self._images.answer(head, body, peer)


async def _read(body: BodyReader, kind: type[T]) -> T:
    data = await body.read()
    try:
        document: Any = msgspec.json.decode(data or b"{}")
    except msgspec.DecodeError as error:
        raise InvalidArgument("the body isn't JSON", why=str(error)[:200]) from None
    return structure(document, kind, "the body")
