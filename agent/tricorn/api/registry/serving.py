"""Opens the registry for other nodes as the configuration has it. Imported only where it is switched on."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import structlog
import trio
from attrs import define, frozen

from tricorn.api.registry.door import PeerDoor, PeerListener
from tricorn.api.registry.migrations import MigrationSite
from tricorn.errors import FailedPrecondition, TricornError
from tricorn.rules.peers import Identity, identity_of
from tricorn.service.peers import PeerService

log = structlog.get_logger(__name__)
_BACKLOG = 128


@frozen
class TlsFiles:
    certificate: str
    key: str
    client_ca: str


@define
class PeerRegistry:
    """The open door. `reload` reads the certificates again, for connections from then on."""

    address: str
    files: TlsFiles
    service: PeerService
    door: PeerDoor
    context: ssl.SSLContext

    async def reload(self) -> None:
        """Take renewed certificates; those that can't be used are told of, and the old ones stay."""
        try:
            self.context, self.service.this = await load_tls(self.files)
        except TricornError as error:
            log.error("certificates for peers refused, the old ones stay", error=error.one_line())

    def facts(self) -> dict[str, Any]:
        """Return what `info` tells."""
        grant = self.service.grant
        return {
            "listen": self.address,
            "names": sorted(self.service.this.names),
            "namespaces": list(grant.namespaces),
            "repositories": list(grant.repositories),
            **self.door.statistics(),
        }


async def load_tls(files: TlsFiles) -> tuple[ssl.SSLContext, Identity]:
    """Return the TLS settings and who this node is by them. FailedPrecondition naming an unusable file."""
    return await trio.to_thread.run_sync(_load, files)


def _load(files: TlsFiles) -> tuple[ssl.SSLContext, Identity]:
    try:
        context = _server_context(files)
        context.load_verify_locations(cafile=files.client_ca)
        names = _names(_server_context(files), files.certificate)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
        place = f"{files.certificate}, {files.key} or {files.client_ca}"
        raise FailedPrecondition(f"can't serve peers with {place}", why=str(why), field="peers") from None
    context.verify_mode = ssl.CERT_REQUIRED
    return context, identity_of(names)


def _server_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # An encrypted key must fail here rather than ask the terminal for its passphrase.
    context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    return context


def _names(server: ssl.SSLContext, certificate: str) -> dict[str, Any]:
    """Return what our certificate says of us, in the words that peers' are read in: shown to ourselves in a
    handshake in memory, for the standard library reads no certificate otherwise. One that has expired fails.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cafile=certificate)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server)
    for _ in range(4):
        for side in (theirs, ours):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return theirs.getpeercert() or {}


class PeerSettings(Protocol):
    """What the `[peers]` table of the configuration says of the door; of what is served the service knows."""

    @property
    def listen(self) -> str: ...
    @property
    def certificate(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def client_ca(self) -> str: ...
    @property
    def connections(self) -> int: ...
    @property
    def connections_each(self) -> int: ...
    @property
    def rate(self) -> int: ...


@asynccontextmanager
async def open_peer_registry(
    settings: PeerSettings, service: PeerService, migrations: MigrationSite | None = None
) -> AsyncIterator[PeerRegistry]:
    """Serve peers while the context is open. FailedPrecondition for files or an address that can't be
    used.
    """
    files = TlsFiles(settings.certificate, settings.key, settings.client_ca)
    context, service.this = await load_tls(files)
    door = PeerDoor(
        service, rate=settings.rate, connections_each=settings.connections_each, migrations=migrations
    )
    registry = PeerRegistry(settings.listen, files, service, door, context)
    sockets = [_listening(settings.listen)]
    listener = PeerListener(sockets, door, lambda: registry.context, settings.connections)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.serve)
        log.info("serving peers", address=settings.listen, names=sorted(service.this.names))
        try:
            yield registry
        finally:
            with trio.CancelScope(shield=True):
                await listener.stop()
            nursery.cancel_scope.cancel()


def _listening(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, int(port)))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise FailedPrecondition(
            f"can't listen on {address}", why=error.strerror or str(error), field="peers.listen"
        ) from None
    return listening
