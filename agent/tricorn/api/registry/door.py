"""The door for other nodes: mutual TLS, who they are, and how many connections each may have."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
import trio

from tricorn import limits
from tricorn.api.http.connection import Connection, Site
from tricorn.api.listen import Listener
from tricorn.api.registry.migrations import MigrationSite, PeerSite
from tricorn.api.registry.pace import Pace
from tricorn.api.registry.site import RegistrySite
from tricorn.api.registry.tls import TlsServerStream
from tricorn.connections import Connections
from tricorn.rules.authorise import Peer
from tricorn.rules.peers import Identity, identity_of
from tricorn.service.peers import PeerService

log = structlog.get_logger(__name__)
_SHARE: Final = 4  # of the connections, what one address has of those that didn't show a certificate so far
_NOBODY: Final = Peer(pid=0, uid=-1, gid=-1)  # peers of this door have no rights on the API


class PeerDoor:
    """Serves peers on connections that are secured already; what a listener asks of a handler."""

    def __init__(
        self, service: PeerService, *, rate: int, connections_each: int,
        migrations: MigrationSite | None = None,
    ) -> None:  # fmt: skip
        self._service = service
        self._migrations = migrations
        self._pace = Pace(rate)
        self._each = connections_each
        self._by_peer: Counter[str] = Counter()
        self._connections: Connections[Connection] = Connections()

    async def serve_peer(self, stream: trio.abc.Stream, certificate: dict[str, Any]) -> None:
        """Serve one peer, if it is one of those that may have anything, until either side closes."""
        peer = identity_of(certificate)
        brings = self._migrations is not None and self._migrations.knows(peer)
        if not self._service.grant.knows(peer) and not brings:
            self._service.figures.refused += 1
            log.warning("peer refused", names=sorted(peer.names), why="no rule of peers.allow names it")
            return
        self._by_peer[peer.label] += 1
        try:
            site: Site = RegistrySite(self._service, peer, self._pace, self._crowd(peer))
            if self._migrations is not None and brings:
                site = PeerSite(site, self._migrations, peer)
            await self._connections.serve(Connection(stream, _NOBODY, site, b""))
        finally:
            self._by_peer[peer.label] -= 1
            if not self._by_peer[peer.label]:
                del self._by_peer[peer.label]

    def _crowd(self, peer: Identity) -> Callable[[], bool]:
        return lambda: self._by_peer[peer.label] > self._each

    async def serve_connection(self, stream: trio.SocketStream, peer: Peer, first_bytes: bytes) -> None:
        """Never called: connections come through `serve_peer`."""
        raise NotImplementedError

    def drain(self) -> None:
        """Close idle connections now, busy ones after their answer."""
        self._connections.drain()

    def abort(self) -> None:
        """Cut all requests off."""
        self._connections.abort()

    def shed(self) -> bool:
        """Close the connection that has been idle longest, and return whether there was one."""
        return self._connections.shed()

    def statistics(self) -> dict[str, int]:
        """Return connections and what was served."""
        figures = {**self._connections.statistics(), **self._service.statistics()}
        return {**figures, "peers": len(self._by_peer)}


class PeerListener(Listener):
    """Secures what it accepts. `context` gives the TLS settings of the moment."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        door: PeerDoor,
        context: Callable[[], ssl.SSLContext],
        connections: int,
    ) -> None:
        super().__init__(sockets, http1_handler=door, connections=connections)
        self._door = door
        self._context = context
        self._unknown: Counter[str] = Counter()  # connections by address, of those not known yet
        self._most = max(1, connections // _SHARE)

    async def _serve(self, stream: trio.SocketStream) -> None:
        secured = await self._known(stream)
        if secured is None:
            return
        try:
            await self._door.serve_peer(secured, secured.certificate())
        finally:
            await secured.aclose()

    async def _known(self, stream: trio.SocketStream) -> TlsServerStream | None:
        """Return the connection once its other end has shown who it is; None, closed, if it doesn't. One
        address can't fill all places with connections that never do.
        """
        address = _address_of(stream)
        if self._unknown[address] >= self._most:
            await stream.aclose()
            return None
        self._unknown[address] += 1
        try:
            return await self._shaken(TlsServerStream(stream, self._context()))
        finally:
            self._unknown[address] -= 1
            if not self._unknown[address]:
                del self._unknown[address]

    async def _shaken(self, secured: TlsServerStream) -> TlsServerStream | None:
        done = False
        try:
            with trio.move_on_after(limits.PEER_HANDSHAKE):
                await secured.do_handshake()
                done = True
        except trio.BrokenResourceError as error:
            log.info("peer not let in", why=str(error.__cause__ or error)[:200])
        finally:
            if not done:
                await secured.aclose()
        return secured if done else None


def _address_of(stream: trio.SocketStream) -> str:
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:  # gone again
        return ""
