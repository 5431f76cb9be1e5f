"""Blobs over bad networks: resumed, bounded, checked; documents whole and verified."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio

from tricorn import limits
from tricorn.errors import DataLoss, NotFound, PermissionDenied, ResourceExhausted, TricornError, Unavailable
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_LAYER, OCI_MANIFEST, Descriptor
from tricorn.model.reference import Reference
from tricorn.model.requests import RegistryAuth
from tricorn.registry.client import RegistryClient
from tricorn.registry.pacing import Pacing
from tricorn_testing.memory_sink import MemorySink
from tricorn_testing.scripted_http import Exchange, Handler, Server, serving

BLOB = os.urandom(3 * limits.TRANSFER_BUFFER + 12_345)
LAYER = Descriptor(OCI_LAYER, Digest.of(BLOB), len(BLOB))
QUICK = Pacing(stall=0.3, slowest=1000, backoff_first=0.001)
SMALL = b'{"schemaVersion": 2}'
ClientMaker = Callable[..., AbstractAsyncContextManager[RegistryClient]]
Writer = Callable[[str, str], str]


def first_byte(exchange: Exchange) -> int:
    match = re.fullmatch(r"bytes=(\d+)-", exchange.headers.get("range", ""))
    return int(match[1]) if match else 0


async def serve_range(exchange: Exchange, blob: bytes = BLOB) -> None:
    """What a good registry does."""
    start = first_byte(exchange)
    if start:
        headers = {"Content-Range": f"bytes {start}-{len(blob) - 1}/{len(blob)}"}
        await exchange.answer(206, headers, blob[start:])
    else:
        await exchange.answer(200, {}, blob)


async def cut(exchange: Exchange, start: int, count: int, status: str = "200 OK") -> None:
    """Promise all from `start`, send `count` bytes, close."""
    rest = len(BLOB) - start
    more = f"Content-Range: bytes {start}-{len(BLOB) - 1}/{len(BLOB)}\r\n" if status.startswith("206") else ""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {rest}\r\n{more}\r\n"
    await exchange.raw(head.encode() + BLOB[start : start + count])


async def fetch(c: RegistryClient, server: Server, sink: MemorySink, descriptor: Descriptor = LAYER) -> None:
    with trio.fail_after(60):
        await c.fetch(Reference.parse(f"{server.address}/team/app:1"), descriptor, sink)


async def fetched(client: ClientMaker, handler: Handler, sink: MemorySink | None = None) -> Server:
    """Fetch BLOB from `handler` and check it; return the server for a look at what it saw."""
    sink = sink or MemorySink()
    async with serving(handler) as server, client() as c:
        await fetch(c, server, sink)
        assert c.statistics()["connections_busy"] == 0
    assert sink.data == BLOB
    return server


async def test_a_whole_blob(client: ClientMaker) -> None:
    server = await fetched(client, serve_range)
    assert server.lines() == [f"GET /v2/team/app/blobs/{LAYER.digest}"]


async def test_a_chunked_blob(client: ClientMaker) -> None:
    async def chunked(exchange: Exchange) -> None:
        await exchange.answer(200, {"Transfer-Encoding": "chunked"}, BLOB)

    await fetched(client, chunked)


async def test_a_blob_without_length(client: ClientMaker) -> None:
    async def unbounded(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\n\r\n" + BLOB)

    await fetched(client, unbounded)


@pytest.mark.parametrize("have", [1, 1000, limits.TRANSFER_BUFFER, len(BLOB) - 1])
async def test_a_half_full_sink_is_resumed(client: ClientMaker, have: int) -> None:
    server = await fetched(client, serve_range, MemorySink(bytearray(BLOB[:have])))
    assert server.seen[0].headers["range"] == f"bytes={have}-"


@pytest.mark.parametrize("have", [1, limits.TRANSFER_BUFFER + 7, len(BLOB) - 1])
async def test_a_registry_without_ranges_is_skipped_through(client: ClientMaker, have: int) -> None:
    async def whole(exchange: Exchange) -> None:
        await exchange.answer(200, {}, BLOB)

    await fetched(client, whole, MemorySink(bytearray(BLOB[:have])))


async def test_a_full_sink_asks_nothing(client: ClientMaker) -> None:
    server = await fetched(client, serve_range, MemorySink(bytearray(BLOB)))
    assert not server.seen


async def test_an_empty_blob(client: ClientMaker) -> None:
    async with serving(serve_range) as server, client() as c:
        await fetch(c, server, MemorySink(), Descriptor(OCI_LAYER, Digest.of(b""), 0))
        assert not server.seen


async def test_broken_connections_are_resumed_where_they_broke(client: ClientMaker) -> None:
    async def breaking(exchange: Exchange) -> None:
        start = first_byte(exchange)
        await cut(exchange, start, 700_000, "206 Partial Content" if start else "200 OK")

    server = await fetched(client, breaking)
    assert [first_byte(each) for each in server.seen] == list(range(0, len(BLOB), 700_000))


async def test_progress_is_bounded_in_total(client: ClientMaker) -> None:
    """A registry that gives a byte a connection doesn't hold a pull for ever."""

    async def miser(exchange: Exchange) -> None:
        start = first_byte(exchange)
        await cut(exchange, start, 1, "206 Partial Content" if start else "200 OK")

    async with serving(miser) as server, client() as c:
        with pytest.raises(Unavailable):
            await fetch(c, server, MemorySink())
        assert len(server.seen) == 12


async def test_a_stalled_connection_is_broken_and_resumed(client: ClientMaker) -> None:
    async def stalling(exchange: Exchange) -> None:
        if len(server.seen) == 1:
            await cut(exchange, 0, 100_000)
            await trio.sleep_forever()
        await serve_range(exchange)

    sink = MemorySink()
    async with serving(stalling) as server, client(pacing=QUICK) as c:
        await fetch(c, server, sink)
        assert first_byte(server.seen[1]) == 100_000
    assert sink.data == BLOB


async def test_a_slow_disk_is_no_stall(client: ClientMaker) -> None:
    sink = MemorySink(delay=0.35)
    async with serving(serve_range) as server, client(pacing=QUICK) as c:
        await fetch(c, server, sink)
        assert c.statistics()["retries"] == 0
    assert sink.data == BLOB


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_passing_troubles_pass(client: ClientMaker, status: int) -> None:
    async def troubled(exchange: Exchange) -> None:
        if first_byte(exchange) == 0:
            await cut(exchange, 0, 500_000)
        elif len(server.seen) < 4:
            await exchange.answer(status, {"Retry-After": "0"})
        else:
            await serve_range(exchange)

    sink = MemorySink()
    async with serving(troubled) as server, client() as c:
        await fetch(c, server, sink)
        assert c.statistics()["retries"] == 3
    assert sink.data == BLOB


async def test_attempts_without_progress_end(client: ClientMaker) -> None:
    async def down(exchange: Exchange) -> None:
        await exchange.answer(503)

    async with serving(down) as server, client() as c:
        with pytest.raises(Unavailable, match="503"):
            await fetch(c, server, MemorySink())
        assert len(server.seen) == 4


@pytest.mark.parametrize(
    "content_range",
    [
        "",
        "bytes 0-99/100",
        f"bytes 11-{len(BLOB) - 1}/{len(BLOB)}",
        f"bytes 10-{len(BLOB)}/{len(BLOB) + 1}",
        "bytes */5",
    ],
)
async def test_a_wrong_range_is_not_taken(client: ClientMaker, content_range: str) -> None:
    """The next try asks for all of it."""

    async def wrong(exchange: Exchange) -> None:
        if first_byte(exchange):
            await exchange.answer(206, {"Content-Range": content_range}, b"x" * 50)
        else:
            await exchange.answer(200, {}, BLOB)

    server = await fetched(client, wrong, MemorySink(bytearray(BLOB[:10])))
    assert ["range" in each.headers for each in server.seen] == [True, False]


async def test_a_body_longer_than_the_descriptor_is_data_loss(client: ClientMaker) -> None:
    sent = 0

    async def announced(exchange: Exchange) -> None:
        await exchange.answer(200, {}, BLOB + b"x")

    async def endless(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.raw(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await exchange.stream.send_all(b"x" * 65536)
            sent += 65536

    for handler in (announced, endless):
        sink = MemorySink()
        async with serving(handler) as server, client() as c:
            with pytest.raises(DataLoss):
                await fetch(c, server, sink)
            assert len(server.seen) == 1
        assert sink.offset <= len(BLOB)
    assert sent < 40 * limits.MIB


async def test_a_body_shorter_than_the_descriptor_is_data_loss(client: ClientMaker) -> None:
    async def short(exchange: Exchange) -> None:
        start = first_byte(exchange)
        if start >= 1000:
            await exchange.answer(416)
        else:
            await exchange.answer(200, {}, BLOB[:1000])

    sink = MemorySink()
    async with serving(short) as server, client() as c:
        with pytest.raises(DataLoss):
            await fetch(c, server, sink)
    assert sink.data == BLOB[:1000]


async def test_a_sink_with_too_much_is_data_loss(client: ClientMaker) -> None:
    async with serving(serve_range) as server, client() as c:
        with pytest.raises(DataLoss, match="longer"):
            await fetch(c, server, MemorySink(bytearray(BLOB + b"x")))


@pytest.mark.parametrize(
    "error", [ResourceExhausted("disk full"), Unavailable("store is stopping"), OSError(5, "io")]
)
async def test_an_error_of_the_sink_is_the_callers_and_never_retried(
    client: ClientMaker, error: Exception
) -> None:
    sink = MemorySink(error=error, fail_at=1_500_000)
    async with serving(serve_range) as server, client() as c:
        with pytest.raises(type(error)) as caught:
            await fetch(c, server, sink)
        assert caught.value is error
        assert len(server.seen) == 1
        assert c.statistics()["connections_busy"] == 0


async def test_cancelling_keeps_what_was_written(client: ClientMaker) -> None:
    async def half(exchange: Exchange) -> None:
        await cut(exchange, 0, 2 * limits.TRANSFER_BUFFER)
        await trio.sleep_forever()

    sink = MemorySink()
    async with serving(half) as server, client() as c:
        with trio.move_on_after(0.2):
            await fetch(c, server, sink)
        assert c.statistics()["connections_busy"] == 0
    assert sink.data == BLOB[: 2 * limits.TRANSFER_BUFFER]


# ---------------------------------------------------------------- where blobs come from
async def test_a_storage_back_end_gets_the_range_and_no_credentials(client: ClientMaker) -> None:
    async with serving(serve_range) as storage, client() as c:

        async def front(exchange: Exchange) -> None:
            if "authorization" not in exchange.headers:
                await exchange.answer(401, {"WWW-Authenticate": "Basic realm=x"})
            else:
                await exchange.answer(307, {"Location": f"{storage.url}/data?X-Signature=abc"})

        async with serving(front) as server:
            sink = MemorySink(bytearray(BLOB[:100]))
            await c.fetch(Reference.parse(f"{server.address}/a:1"), LAYER, sink, auth=RegistryAuth("u", "p"))
    assert sink.data == BLOB
    (seen,) = storage.seen
    assert "authorization" not in seen.headers
    assert seen.headers["range"] == "bytes=100-"


async def test_the_urls_of_a_descriptor_are_never_asked(client: ClientMaker) -> None:
    async def missing(exchange: Exchange) -> None:
        await exchange.answer(404)

    async with serving(serve_range) as foreign, serving(missing) as server, client() as c:
        descriptor = Descriptor(OCI_LAYER, LAYER.digest, LAYER.size, urls=(f"{foreign.url}/layer",))
        with pytest.raises(NotFound) as caught:
            await c.fetch(
                Reference.parse(f"{server.address}/a:1"),
                descriptor,
                MemorySink(),
                auth=RegistryAuth("u", "p"),
            )
    assert "foreign" in caught.value.hint
    assert not foreign.seen


async def test_upstream_goes_on_where_a_mirror_broke(client: ClientMaker, hosts_toml: Writer) -> None:
    async def breaking(exchange: Exchange) -> None:
        if len(mirror.seen) == 1:
            await cut(exchange, 0, 1_000_000)
        else:
            await exchange.answer(404)

    sink = MemorySink()
    async with serving(breaking) as mirror, serving(serve_range) as up:
        text = f'server = "{up.url}"\n[host."{mirror.url}"]\ncapabilities = ["pull"]\n'
        async with client(hosts_toml("reg.example", text)) as c:
            await c.fetch(Reference.parse("reg.example/a:1"), LAYER, sink)
    assert sink.data == BLOB
    assert first_byte(up.seen[0]) == 1_000_000


# ---------------------------------------------------------------- documents
def document(data: bytes = SMALL, size: int | None = None, media_type: str = OCI_MANIFEST) -> Descriptor:
    return Descriptor(media_type, Digest.of(data), len(data) if size is None else size)


async def fetch_document(
    client: ClientMaker,
    handler: Callable[[Exchange], Awaitable[None]],
    descriptor: Descriptor,
    **more: object,
) -> tuple[bytes, list[str]]:
    async with serving(handler) as server, client(**more) as c:
        with trio.fail_after(60):
            data = await c.fetch_document(Reference.parse(f"{server.address}/a:1"), descriptor)
        return data, server.lines()


async def small(exchange: Exchange) -> None:
    await exchange.answer(200, {}, SMALL)


async def test_a_manifest_and_a_config(client: ClientMaker) -> None:
    data, lines = await fetch_document(client, small, document())
    assert (data, lines) == (SMALL, [f"GET /v2/a/manifests/{Digest.of(SMALL)}"])
    config = document(media_type="application/vnd.oci.image.config.v1+json")
    data, lines = await fetch_document(client, small, config)
    assert (data, lines) == (SMALL, [f"GET /v2/a/blobs/{Digest.of(SMALL)}"])


@pytest.mark.parametrize("descriptor", [document(b"x" * len(SMALL)), document(size=5), document(size=500)])
async def test_wrong_digests_and_sizes_are_data_loss(client: ClientMaker, descriptor: Descriptor) -> None:
    with pytest.raises(DataLoss):
        await fetch_document(client, small, descriptor)


async def test_a_huge_document_is_not_asked_for(client: ClientMaker) -> None:
    async with serving(small) as server, client() as c:
        with pytest.raises(ResourceExhausted):
            await c.fetch_document(
                Reference.parse(f"{server.address}/a:1"), document(size=limits.MANIFEST_SIZE + 1)
            )
        assert not server.seen


async def test_a_dripping_document_ends(client: ClientMaker) -> None:
    """Fast enough to be no stall, and yet never done."""

    async def drip(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await exchange.stream.send_all(b" " * 100)
            await trio.sleep(0.02)

    # On a loaded machine a drop may come so late that it is a stall: that ends it as well.
    with pytest.raises(Unavailable, match=r"too slow|stalled"):
        await fetch_document(
            client, drip, document(size=4 * limits.MIB), pacing=Pacing(stall=0.1, slowest=1000, attempts=1)
        )


async def test_a_document_comes_from_the_host_that_has_the_right_one(
    client: ClientMaker, hosts_toml: Writer
) -> None:
    async def polluted(exchange: Exchange) -> None:
        await exchange.answer(200, {}, b"x" * len(SMALL))

    async with serving(polluted) as mirror, serving(small) as up:
        text = f'server = "{up.url}"\n[host."{mirror.url}"]\n'
        async with client(hosts_toml("reg.example", text)) as c:
            assert await c.fetch_document(Reference.parse("reg.example/a:1"), document()) == SMALL


async def test_refusals_are_typed(client: ClientMaker) -> None:
    cases: list[tuple[int, type[TricornError]]] = [(404, NotFound), (403, PermissionDenied)]
    for status, error in cases:

        async def refuse(exchange: Exchange, status: int = status) -> None:
            await exchange.json(status, {"errors": [{"code": "BLOB_UNKNOWN", "message": "unknown blob"}]})

        with pytest.raises(error, match="unknown blob"):
            await fetch_document(client, refuse, document())
