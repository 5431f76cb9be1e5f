"""The way to another agent's door for nodes: mutual TLS, one connection, one request after the other."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any, Final, Self

import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition, Internal, TricornError, Unavailable, from_problem
from tricorn.registry.connection import ClosedEarlyError, Connection, Head, Header, Upload
from tricorn.registry.pacing import Pacing
from tricorn.registry.streams import TlsStream

_ANSWER: Final = limits.MIGRATION_MESSAGE


@frozen
class PeerFiles:
    """What this node shows, and whom it believes: the one authority of the nodes, none of the system's."""

    certificate: str
    key: str
    ca: str


class PeerLink:
    """Connects when it is asked first, and again after a connection broke. An async context manager."""

    def __init__(self, address: str, files: PeerFiles, pacing: Pacing | None = None) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._address = address
        self._files = files
        self._pacing = pacing or Pacing()
        self._context: ssl.SSLContext | None = None
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close at once; another request connects anew."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> Any:
        """Send a small request; return the JSON document that answers it, None for none.

        Raises the error that the answer tells of; Unavailable for the network: whether the other node has
        acted is unknown then. FailedPrecondition for certificates.
        """
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        for _ in range(2):
            connection = await self._connected()
            try:
                head = await connection.request(method, path, [*self._usual, *headers], body)
                document = await self._document(connection, head)
            except ClosedEarlyError:  # kept open, and gone meanwhile: every request here may be repeated
                self.close()
            except BaseException:  # cancelled, too: what is still to come would answer the next request
                self.close()
                raise
            else:
                return self._told(head, document)
        raise Unavailable(f"{self._address} closes its connections")

    async def send(self, method: str, path: str, upload: Upload) -> Any:
        """Send a long body. Raises as `ask`."""
        headers = [
            ("Content-Type", "application/octet-stream"), ("Content-Length", str(upload.length)),
        ]  # fmt: skip
        connection = await self._connected()
        try:
            head = await connection.upload(method, path, [*self._usual, *headers], upload)
            return self._told(head, await self._document(connection, head))
        except BaseException:
            self.close()
            raise

    @property
    def _usual(self) -> list[Header]:
        return [("Host", self._address), ("User-Agent", "tricorn")]

    async def _document(self, connection: Connection, head: Head) -> Any:
        """Read the whole answer; what isn't JSON counts as an empty document."""
        data = bytearray()
        buffer = memoryview(bytearray(64 * limits.KIB))
        while count := await connection.read_into(buffer):
            data += buffer[:count]
            if len(data) > _ANSWER:
                self.close()
                raise Internal(f"{self._address} answers at too great a length")
        if not connection.reusable(head):
            self.close()
        try:
            return json.loads(data) if data else None
        except ValueError:
            return {}

    def _told(self, head: Head, document: Any) -> Any:
        if head.status < 400:
            return document
        raise _error(self._address, head.status, document)

    async def _connected(self) -> Connection:
        if self._connection is not None and self._connection.quiet():
            return self._connection
        self.close()
        if self._context is None:
            self._context = await trio.to_thread.run_sync(_context, self._files)
        with trio.move_on_after(self._pacing.connect):
            self._connection = Connection(await self._secured(self._context), self._address, self._pacing)
            return self._connection
        raise Unavailable(f"can't connect to {self._address}", why=f"no answer in {self._pacing.connect:g} s")

    async def _secured(self, context: ssl.SSLContext) -> TlsStream:
        try:
            plain = await trio.open_tcp_stream(self._host, self._port)
        except OSError as error:
            raise Unavailable(f"can't connect to {self._address}", why=str(error)[:160]) from None
        secured = TlsStream(_detached(plain), context, self._host)
        try:
            await secured.handshake()
        except ssl.SSLCertVerificationError as error:
            secured.close()
            raise FailedPrecondition(
                f"{self._address} can't be trusted", why=error.verify_message,
                hint="its certificate must be of peers.client_ca and have this name or address in it",
            ) from None  # fmt: skip
        except OSError as error:
            secured.close()
            raise Unavailable(f"TLS handshake with {self._address} failed", why=str(error)[:160]) from None
        except BaseException:
            secured.close()
            raise
        return secured


def _detached(stream: trio.SocketStream) -> socket.socket:
    bare = socket.socket(fileno=stream.socket.detach())
    bare.settimeout(0)
    bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bare


def _context(files: PeerFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(cafile=files.ca)
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise FailedPrecondition(
            f"can't use {files.certificate}, {files.key} or {files.ca}", why=str(why), field="peers"
        ) from None
    return context


def _error(address: str, status: int, document: Any) -> TricornError:
    if isinstance(document, dict) and document.get("code"):
        return from_problem(document)
    return Unavailable(
        f"{address} answered with HTTP status {status}",
        hint="does that node accept migrations? [[peers.migrations]] in its configuration",
    )
