"""Requests over kept connections: redirects, heads, TLS, proxies. All servers are local and real."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, TricornError, Unavailable
from tricorn.registry.pacing import Pacing
from tricorn.registry.url import Url
from tricorn.registry.wire import Request, Wire
from tricorn.rules.hosts import TlsSettings
from tricorn_testing.certificates import Certificates
from tricorn_testing.scripted_http import Exchange, serving

PACING = Pacing(connect=5.0, stall=5.0)
QUICK = Pacing(connect=5.0, stall=0.3, slowest=1000)


@asynccontextmanager
async def wiring(
    environment: Mapping[str, str] | None = None, pacing: Pacing = PACING
) -> AsyncIterator[Wire]:
    async with Wire(environment=environment or {}, user_agent="tricorn/test", pacing=pacing) as wire:
        yield wire


async def get(wire: Wire, url: str, **more: object) -> tuple[int, bytes]:
    async with wire.follow(Request("GET", Url.parse(url), **more)) as response:
        return response.status, await response.read(1 << 20)


async def hello(exchange: Exchange) -> None:
    await exchange.answer(200, {"Content-Type": "text/plain"}, b"hello")


async def test_a_request_names_agent_and_host_and_asks_for_plain_bodies() -> None:
    async with serving(hello) as server, wiring() as wire:
        assert await get(wire, f"{server.url}/x?y=1") == (200, b"hello")
    (seen,) = server.seen
    assert seen.target == "/x?y=1"
    assert seen.headers["host"] == server.address
    assert seen.headers["user-agent"] == "tricorn/test"
    assert seen.headers["accept-encoding"] == "identity"


async def test_connections_are_kept() -> None:
    async with serving(hello) as server, wiring() as wire:
        for _ in range(5):
            await get(wire, server.url)
        assert server.connections == 1
        assert wire.statistics()["connections_idle"] == 1
    assert wire.statistics()["connections_idle"] == 0


async def test_idle_connections_are_bounded() -> None:
    async with serving(hello) as server, wiring() as wire:
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(get, wire, server.url)
        assert wire.statistics()["connections_idle"] <= limits.REGISTRY_IDLE_CONNECTIONS
        assert wire.statistics()["connections_busy"] == 0


async def test_a_connection_closed_while_idle_is_replaced() -> None:
    async def once(exchange: Exchange) -> None:
        await hello(exchange)
        await exchange.stream.aclose()

    async with serving(once) as server, wiring() as wire:
        for _ in range(3):
            assert (await get(wire, server.url))[0] == 200
        assert server.connections == 3


async def test_chunked_and_unbounded_bodies() -> None:
    async def odd(exchange: Exchange) -> None:
        if exchange.path == "/chunked":
            await exchange.answer(200, {"Transfer-Encoding": "chunked"}, b"c" * 200_000)
        else:
            await exchange.raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"u" * 100_000)

    async with serving(odd) as server, wiring() as wire:
        assert await get(wire, f"{server.url}/chunked") == (200, b"c" * 200_000)
        assert await get(wire, f"{server.url}/chunked") == (200, b"c" * 200_000)
        assert server.connections == 1
        assert await get(wire, f"{server.url}/close") == (200, b"u" * 100_000)


async def test_an_endless_body_is_cut_at_the_limit() -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await exchange.stream.send_all(b"x" * 65536)

    async with serving(endless) as server, wiring() as wire:
        with pytest.raises(ResourceExhausted):
            await get(wire, server.url)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 30_000,
        b"HTTP/1.1 103 Hints\r\n\r\n" * 50,
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5;" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"",
    ],
)
async def test_broken_answers_are_unavailable(head: bytes) -> None:
    async def broken(exchange: Exchange) -> None:
        await exchange.raw(head)

    async with serving(broken) as server, wiring() as wire:
        with pytest.raises(Unavailable), trio.fail_after(25):
            await get(wire, server.url)
        assert wire.statistics()["connections_idle"] == 0


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"]
)
async def test_drips_and_silence_are_stalls(head: bytes) -> None:
    async def drip(exchange: Exchange) -> None:
        await exchange.raw(head)
        while True:
            await exchange.stream.send_all(b"x")
            await trio.sleep(0.02)

    async with serving(drip) as server, wiring(pacing=QUICK) as wire:
        with pytest.raises(Unavailable), trio.fail_after(25):
            await get(wire, server.url)


async def test_silence_before_the_answer_is_a_stall() -> None:
    async def silent(_: Exchange) -> None:
        await trio.sleep_forever()

    async with serving(silent) as server, wiring(pacing=QUICK) as wire:
        with pytest.raises(Unavailable, match="no answer"), trio.fail_after(25):
            await get(wire, server.url)


async def test_nobody_listens() -> None:
    async with wiring() as wire:
        with pytest.raises(Unavailable, match="refused"):
            await get(wire, "http://127.0.0.1:1/")


async def test_a_closed_client_says_so() -> None:
    async with wiring() as wire:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await get(wire, "http://127.0.0.1:1/")


async def test_cancelling_frees_the_connection() -> None:
    async def silent(_: Exchange) -> None:
        await trio.sleep_forever()

    async with serving(silent) as server, wiring() as wire:
        with trio.move_on_after(0.05):
            await get(wire, server.url)
        assert wire.statistics()["connections_busy"] == 0


# ---------------------------------------------------------------- redirects
PRIVATE = (("Authorization", "Basic c2VjcmV0"), ("X-Configured", "secret"))


async def redirected(
    target: str, *, status: int = 307, method: str = "GET"
) -> tuple[list[Exchange], list[Exchange]]:
    """Ask one server that redirects to `target` ({a} itself, {b} another); return what both saw."""
    urls: dict[str, str] = {}

    async def front(exchange: Exchange) -> None:
        if exchange.path == "/start":
            await exchange.answer(status, {"Location": target.format(**urls)}, b"moved")
        else:
            await hello(exchange)

    async with serving(front) as a, serving(hello) as b, wiring() as wire:
        urls |= {"a": a.url, "b": b.url}
        request = Request(method, Url.parse(f"{a.url}/start"), (("Range", "bytes=5-"),), PRIVATE)
        async with wire.follow(request) as response:
            await response.read(1000)
    return a.seen, b.seen


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_another_origin_gets_no_credentials(status: int) -> None:
    first, (second,) = await redirected("{b}/blob?X-Amz-Signature=abc", status=status)
    assert first[0].headers["authorization"] == "Basic c2VjcmV0"
    assert not {"authorization", "x-configured"} & set(second.headers)
    assert second.headers["range"] == "bytes=5-"
    assert second.target == "/blob?X-Amz-Signature=abc"


@pytest.mark.parametrize("target", ["{a}/next", "/next", "next"])
async def test_the_same_origin_keeps_them(target: str) -> None:
    first, second = await redirected(target)
    assert first[1].headers["authorization"] == "Basic c2VjcmV0"
    assert not second


async def test_a_post_is_not_redirected() -> None:
    _, second = await redirected("{b}/x", method="POST")
    assert not second


async def test_redirect_loops_end() -> None:
    async def loop(exchange: Exchange) -> None:
        await exchange.answer(302, {"Location": "/again"})

    async with serving(loop) as server, wiring() as wire:
        with pytest.raises(FailedPrecondition, match="too often"):
            await get(wire, server.url)
    assert len(server.seen) == limits.REGISTRY_REDIRECTS + 1


@pytest.mark.parametrize("headers", [{}, {"Location": "ftp://x/"}, {"Location": "http://u:p@x/"}])
async def test_redirects_to_nowhere(headers: dict[str, str]) -> None:
    async def nowhere(exchange: Exchange) -> None:
        await exchange.answer(302, headers)

    async with serving(nowhere) as server, wiring() as wire:
        with pytest.raises(FailedPrecondition) as caught:
            await get(wire, server.url)
    assert "u:p" not in str(caught.value)


async def test_signed_urls_stay_out_of_errors() -> None:
    async def front(exchange: Exchange) -> None:
        await exchange.answer(302, {"Location": "http://127.0.0.1:1/blob?sig=TOPSECRET"})

    async with serving(front) as server, wiring() as wire:
        with pytest.raises(TricornError) as caught:
            await get(wire, server.url)
    assert "TOPSECRET" not in str(caught.value.problem())


# ---------------------------------------------------------------- TLS
async def test_tls_with_a_known_ca(certificates: Certificates, server_tls: ssl.SSLContext) -> None:
    async with serving(hello, server_tls) as server, wiring() as wire:
        for _ in range(2):
            assert await get(wire, server.url, tls=TlsSettings(ca=(certificates.ca,))) == (200, b"hello")
        assert server.connections == 1


async def test_tls_with_the_roots_of_the_environment(
    certificates: Certificates, server_tls: ssl.SSLContext
) -> None:
    async with serving(hello, server_tls) as server, wiring({"SSL_CERT_FILE": certificates.ca}) as wire:
        assert await get(wire, server.url) == (200, b"hello")


async def test_an_unknown_ca_is_refused_and_skip_verify_is_not(server_tls: ssl.SSLContext) -> None:
    async with serving(hello, server_tls) as server, wiring() as wire:
        with pytest.raises(FailedPrecondition, match="can't be trusted") as caught:
            await get(wire, server.url)
        assert "ca" in caught.value.hint
        assert await get(wire, server.url, tls=TlsSettings(skip_verify=True)) == (200, b"hello")


@pytest.mark.parametrize("pair", [("client.crt", "client.key"), ("client.pem", "")])
async def test_client_certificates(certificates: Certificates, pair: tuple[str, str]) -> None:
    client = (certificates.file(pair[0]), certificates.file(pair[1]) if pair[1] else "")
    context = certificates.server_context(want_client=True)
    async with serving(hello, context) as server, wiring() as wire:
        tls = TlsSettings(ca=(certificates.ca,), client=(client,))
        assert await get(wire, server.url, tls=tls) == (200, b"hello")
        with pytest.raises(Unavailable):
            await get(wire, server.url, tls=TlsSettings(ca=(certificates.ca,)))


async def test_unusable_files_are_named(certificates: Certificates, server_tls: ssl.SSLContext) -> None:
    async with serving(hello, server_tls) as server, wiring() as wire:
        for tls in (
            TlsSettings(ca=("/nowhere/ca.pem",)),
            TlsSettings(ca=(certificates.file("server.key"),)),
            TlsSettings(client=(("/nowhere/c.pem", ""),)),
        ):
            with pytest.raises(InvalidArgument) as caught:
                await get(wire, server.url, tls=tls)
            assert caught.value.field in {"ca", "client"}


async def test_tls_on_a_plain_port_hints_at_plain_http() -> None:
    async with serving(hello) as server, wiring() as wire:
        with pytest.raises(Unavailable) as caught:
            await get(wire, f"https://{server.address}/")
    assert "plain HTTP" in caught.value.hint
    assert not server.seen


async def test_https_never_leads_to_http(certificates: Certificates, server_tls: ssl.SSLContext) -> None:
    async with serving(hello) as plain:

        async def front(exchange: Exchange) -> None:
            await exchange.answer(302, {"Location": f"{plain.url}/x"})

        async with serving(front, server_tls) as server, wiring() as wire:
            with pytest.raises(FailedPrecondition, match="plain HTTP"):
                await get(wire, server.url, tls=TlsSettings(ca=(certificates.ca,)))
    assert not plain.seen


async def test_a_client_certificate_stays_with_its_origin(certificates: Certificates) -> None:
    """The redirect's target asks for a certificate, gets none, and so breaks the handshake."""
    tls = TlsSettings((certificates.ca,), ((certificates.file("client.pem"), ""),))
    async with serving(hello, certificates.server_context(want_client=True)) as storage:

        async def front(exchange: Exchange) -> None:
            await exchange.answer(302, {"Location": f"{storage.url}/x"})

        async with serving(front, certificates.server_context(want_client=True)) as server, wiring() as wire:
            with pytest.raises(Unavailable):
                await get(wire, server.url, tls=tls)
    assert not storage.seen


# ---------------------------------------------------------------- proxies
async def test_plain_http_through_a_proxy() -> None:
    async with serving(hello) as proxy:
        environment = {"http_proxy": f"http://me:pw@{proxy.address}"}
        async with wiring(environment) as wire:
            assert await get(wire, "http://registry.test/v2/?a=b") == (200, b"hello")
    (seen,) = proxy.seen
    assert seen.target == "http://registry.test/v2/?a=b"
    assert seen.headers["proxy-authorization"].startswith("Basic ")
    assert seen.headers["host"] == "registry.test"


async def relay(exchange: Exchange, port: int) -> None:
    """A proxy's CONNECT, to `port` here whatever was asked for."""
    await exchange.raw(b"HTTP/1.1 200 Connection established\r\n\r\n")
    upstream = await trio.open_tcp_stream("127.0.0.1", port)

    async def copy(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, nursery: trio.Nursery) -> None:
        async for data in source:
            await sink.send_all(data)
        nursery.cancel_scope.cancel()

    async with upstream, trio.open_nursery() as nursery:
        nursery.start_soon(copy, exchange.stream, upstream, nursery)
        nursery.start_soon(copy, upstream, exchange.stream, nursery)


async def test_tls_through_a_proxys_tunnel(certificates: Certificates, server_tls: ssl.SSLContext) -> None:
    async with serving(hello, server_tls) as server, serving(lambda e: relay(e, server.port)) as proxy:
        environment = {"https_proxy": f"http://{proxy.address}", "SSL_CERT_FILE": certificates.ca}
        async with wiring(environment) as wire:
            assert await get(wire, "https://registry.test/x") == (200, b"hello")
    (tunnel,) = proxy.seen
    assert (tunnel.method, tunnel.target) == ("CONNECT", "registry.test:443")
    assert server.seen[0].headers["host"] == "registry.test"


async def test_a_proxy_that_refuses() -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    async with serving(refuse) as proxy, wiring({"https_proxy": f"http://{proxy.address}"}) as wire:
        with pytest.raises(Unavailable, match="407"):
            await get(wire, "https://registry.test/x")


async def test_a_certificate_for_another_name_is_refused(
    certificates: Certificates, server_tls: ssl.SSLContext
) -> None:
    async with serving(hello, server_tls) as server, serving(lambda e: relay(e, server.port)) as proxy:
        environment = {"https_proxy": f"http://{proxy.address}", "SSL_CERT_FILE": certificates.ca}
        async with wiring(environment) as wire:
            with pytest.raises(FailedPrecondition, match="can't be trusted"):
                await get(wire, "https://other.test/x")
    assert not server.seen
