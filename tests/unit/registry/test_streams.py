"""The sockets below HTTP: what has arrived is read in one call, and closes are closes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tricorn.registry.streams import ByteStream, PlainStream, TlsStream
from tricorn_testing.certificates import Certificates


@asynccontextmanager
async def pair(
    certificates: Certificates, *, tls: bool
) -> AsyncIterator[tuple[ByteStream, trio.abc.Stream, trio.SocketStream]]:
    """A client's stream, the server's, and the server's bare one below it."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    plain = PlainStream(await trio.open_tcp_stream(*listener.socket.getsockname()))
    bare = await listener.accept()
    await listener.aclose()
    if not tls:
        yield plain, bare, bare
        plain.close()
    else:
        context = ssl.create_default_context(cafile=certificates.ca)
        client = TlsStream(plain.detach(), context, "127.0.0.1")
        server = trio.SSLStream(bare, certificates.server_context(), server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.do_handshake)
            await client.handshake()
        yield client, server, bare
        client.close()
    await trio.aclose_forcefully(bare)


async def read_all(stream: ByteStream, count: int) -> tuple[bytes, int]:
    """Read `count` bytes; return them and the number of calls."""
    data, calls = bytearray(), 0
    room = memoryview(bytearray(1 << 20))
    while len(data) < count and (got := await stream.receive_into(room)):
        data += room[:got]
        calls += 1
    return bytes(data), calls


@pytest.mark.parametrize("tls", [False, True])
async def test_bytes_go_both_ways(certificates: Certificates, tls: bool) -> None:
    async with pair(certificates, tls=tls) as (client, server, _):
        payload = bytes(range(256)) * 20_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send_all, payload)
            nursery.start_soon(client.send_all, payload)
            got, _ = await read_all(client, len(payload))
            sent = bytearray()
            while len(sent) < len(payload):
                sent += await server.receive_some()
        assert got == payload
        assert sent == payload


async def test_many_records_come_in_few_calls(certificates: Certificates) -> None:
    async with pair(certificates, tls=True) as (client, server, _):
        payload = b"x" * 48_000  # three records, and below what a socket's buffers hold
        await server.send_all(payload)
        await trio.sleep(0.05)
        got, calls = await read_all(client, len(payload))
    assert got == payload
    assert calls == 1


@pytest.mark.parametrize("tls", [False, True])
async def test_a_close_without_goodbye_is_the_end(certificates: Certificates, tls: bool) -> None:
    async with pair(certificates, tls=tls) as (client, server, bare):
        await server.send_all(b"last")
        await bare.aclose()
        room = memoryview(bytearray(100))
        assert await client.receive_into(room) == 4
        assert await client.receive_into(room) == 0


@pytest.mark.parametrize("tls", [False, True])
async def test_quiet_means_nothing_to_read(certificates: Certificates, tls: bool) -> None:
    async with pair(certificates, tls=tls) as (client, server, bare):
        await server.send_all(b"abc")
        assert await client.receive_into(memoryview(bytearray(2))) == 2
        if tls:
            assert not client.quiet()  # one byte is left in OpenSSL
        assert await client.receive_into(memoryview(bytearray(2))) == 1
        assert client.quiet()
        await bare.aclose()
        await trio.sleep(0.01)
        assert not client.quiet()


@pytest.mark.parametrize("tls", [False, True])
async def test_reading_is_cancelled(certificates: Certificates, tls: bool) -> None:
    async with pair(certificates, tls=tls) as (client, _, _bare):
        with trio.move_on_after(0.02) as scope:
            await client.receive_into(memoryview(bytearray(1)))
        assert scope.cancelled_caught


@pytest.mark.parametrize("tls", [False, True])
async def test_garbage_and_resets_are_os_errors(certificates: Certificates, tls: bool) -> None:
    async with pair(certificates, tls=tls) as (client, _, bare):
        if tls:
            await bare.send_all(b"this is no TLS record at all")
            with pytest.raises(ssl.SSLError):
                await client.receive_into(memoryview(bytearray(100)))
        await bare.aclose()
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe|EOF"):
            await client.send_all(b"x" * (64 << 20))
