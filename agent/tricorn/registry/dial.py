"""Opens connections: TCP, through a proxy where the environment names one, and TLS on top."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

import h11
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, TricornError, Unavailable
from tricorn.registry.connection import Connection, Header
from tricorn.registry.pacing import Pacing
from tricorn.registry.proxies import Proxy, proxy_for
from tricorn.registry.streams import ByteStream, PlainStream, TlsStream
from tricorn.registry.tls import TlsContexts
from tricorn.registry.url import Origin
from tricorn.rules.hosts import TlsSettings

_READ: Final = 16 * 1024


class Dialer:
    """Makes connections to origins. `environment` gives the proxies and the system's roots."""

    def __init__(self, environment: Mapping[str, str], pacing: Pacing) -> None:
        self._environment = environment
        self._pacing = pacing
        self._tls = TlsContexts(environment)

    def proxy_headers(self, origin: Origin) -> list[Header] | None:
        """Return the headers for a plain HTTP proxy, which takes absolute targets; None without one."""
        proxy = proxy_for(origin, self._environment) if origin.scheme == "http" else None
        if proxy is None:
            return None
        return [("Proxy-Authorization", proxy.authorization)] if proxy.authorization else []

    async def dial(self, origin: Origin, tls: TlsSettings, timeout: float | None) -> Connection:
        """Connect to `origin` within `timeout` seconds (None: the usual limit).

        Raises Unavailable for the network, FailedPrecondition for a certificate that isn't trusted,
        InvalidArgument for unusable certificate files.
        """
        context = await self._tls.get(tls) if origin.scheme == "https" else None
        proxy = proxy_for(origin, self._environment)
        with trio.move_on_after(timeout or self._pacing.connect) as scope:
            stream = await self._stream(origin, proxy, context)
            return Connection(stream, origin.authority, self._pacing)
        assert scope.cancelled_caught
        raise Unavailable(
            f"can't connect to {origin}", why=f"no answer in {timeout or self._pacing.connect:g} s"
        )

    async def _stream(
        self, origin: Origin, proxy: Proxy | None, context: ssl.SSLContext | None
    ) -> ByteStream:
        plain = await _connect(origin, proxy)
        if context is None:
            return plain
        if proxy:
            try:
                await _open_tunnel(plain, origin, proxy)
            except BaseException:
                plain.close()
                raise
        return await _secure(plain, origin, context)


async def _connect(origin: Origin, proxy: Proxy | None) -> PlainStream:
    host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
    try:
        return PlainStream(await trio.open_tcp_stream(host, port))
    except OSError as error:
        via = f" through the proxy {proxy.host}:{proxy.port}" if proxy else ""
        raise Unavailable(f"can't connect to {origin}{via}", why=_first_reason(error)) from None


async def _secure(plain: PlainStream, origin: Origin, context: ssl.SSLContext) -> TlsStream:
    """Put TLS on top of `plain`, whose socket it takes over; closed when that fails."""
    secured = TlsStream(plain.detach(), context, origin.host)
    try:
        await secured.handshake()
    except OSError as error:
        secured.close()
        raise _handshake_failed(origin, error) from None
    except BaseException:
        secured.close()
        raise
    return secured


async def _open_tunnel(stream: PlainStream, origin: Origin, proxy: Proxy) -> None:
    """Ask the proxy for a tunnel; any answer but 2xx, or bytes after it, is a failure."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.REGISTRY_HEADERS)
    headers = [("Host", origin.endpoint)]
    if proxy.authorization:
        headers.append(("Proxy-Authorization", proxy.authorization))
    request = http.send(h11.Request(method="CONNECT", target=origin.endpoint, headers=headers))
    room = memoryview(bytearray(_READ))
    try:
        await stream.send_all((request or b"") + (http.send(h11.EndOfMessage()) or b""))
        event = http.next_event()
        while event is h11.NEED_DATA:
            http.receive_data(bytes(room[: await stream.receive_into(room)]))
            event = http.next_event()
    except (OSError, h11.RemoteProtocolError) as error:
        raise Unavailable(f"proxy {proxy.host}:{proxy.port} broke off", why=str(error)[:160]) from None
    if not isinstance(event, h11.Response) or not 200 <= event.status_code < 300 or http.trailing_data[0]:
        status = event.status_code if isinstance(event, h11.Response) else "no answer"
        raise Unavailable(f"proxy {proxy.host}:{proxy.port} refused a tunnel to {origin}", why=f"{status}")


def _handshake_failed(origin: Origin, error: BaseException) -> TricornError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return FailedPrecondition(
            f"{origin} can't be trusted",
            why=error.verify_message,
            hint="add the CA's file as `ca` in hosts.toml",
        )
    why = getattr(error, "reason", None) or str(error) or type(error).__name__
    return Unavailable(
        f"TLS handshake with {origin} failed",
        why=str(why)[:160],
        hint="a registry that speaks plain HTTP needs an http:// URL in hosts.toml, or plain_http",
    )


def _first_reason(error: BaseException) -> str:
    """The system's words; Trio groups the failures of several addresses."""
    while error.__cause__ is not None and not getattr(error, "strerror", None):
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return _first_reason(error.exceptions[0])
    return str(getattr(error, "strerror", None) or error)[:160]
