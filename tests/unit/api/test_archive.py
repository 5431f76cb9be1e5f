"""Archives over HTTP: bodies of any length in, answers of unknown length out."""

from __future__ import annotations

from typing import Any

import trio

from tricorn import limits
from tricorn.errors import DataLoss, NotFound
from tricorn_testing.api import Server


async def test_an_archive_comes_as_it_is_written(server: Server) -> None:
    server.world.stream_items = [b"one", b"", b"two" * 100_000]
    answer = await server.request("GET", "/v1/default/archive?name=redis&name=alpine&platform=linux/arm64")
    assert answer.status == 200
    assert answer.body == b"one" + b"two" * 100_000
    assert answer.headers["content-type"] == "application/octet-stream"
    args, kwargs = server.world.last("transfer.plan_archive")
    assert args == ("default", ("redis", "alpine"), "linux/arm64")
    assert kwargs == {"all_platforms": False}


async def test_head_reads_nothing(server: Server) -> None:
    server.world.stream_items = [b"one"]
    answer = await server.request("HEAD", "/v1/default/archive?name=redis")
    assert (answer.status, answer.body) == (200, b"")
    assert server.world.left == []


async def test_an_error_before_the_first_byte_is_a_problem(server: Server) -> None:
    server.world.failures["transfer.plan_archive"] = NotFound("no such image")
    assert (await server.request("GET", "/v1/default/archive?name=x")).status == 404
    server.world.failures.clear()
    server.world.stream_items = [DataLoss("damaged")]
    answer = await server.request("GET", "/v1/default/archive?name=x")
    assert answer.json()["code"] == "DataLoss"


async def test_an_error_later_cuts_the_answer(server: Server) -> None:
    """Nobody may take a part of an archive for the whole: the last chunk is missing."""
    server.world.stream_items = [b"part", DataLoss("damaged")]
    client = await server.connect()
    await client.send("GET", "/v1/default/archive?name=x")
    data = await client.rest()
    assert b"part" in data
    assert not data.endswith(b"0\r\n\r\n")


async def test_a_name_is_needed(server: Server) -> None:
    answer = await server.request("GET", "/v1/default/archive")
    assert (answer.status, answer.json()["field"]) == (400, "name")


async def chunked(server: Server, parts: list[bytes], *, end: bool = True, query: str = "") -> Any:
    client = await server.connect()
    await client.stream.send_all(
        f"POST /v1/default/archive{query} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    for part in parts:
        await client.stream.send_all(b"%x\r\n%b\r\n" % (len(part), part))
    if end:
        await client.stream.send_all(b"0\r\n\r\n")
    return client


def collect(server: Server) -> list[bytes]:
    """Let the fake service read the body as the importer does; return what it got."""
    pieces: list[bytes] = []
    load = server.world.services.transfer.load_archive

    async def reading(namespace: str, receive: Any, **options: Any) -> Any:
        while piece := await receive():
            pieces.append(piece)
        return await load(namespace, **options)

    server.world.services.transfer.load_archive = reading
    return pieces


async def test_a_body_of_any_length_is_read_piece_by_piece(server: Server) -> None:
    pieces = collect(server)
    sent = [bytes([n]) * 300_000 for n in range(40)]
    assert sum(map(len, sent)) > limits.HTTP_REQUEST_BODY
    query = "?base_name=a/b&unpack=false&compress=true"
    with trio.fail_after(60):
        client = await chunked(server, sent, query=query)
        assert (await client.stream.receive_some(1000)).startswith(b"HTTP/1.1 200")
    assert b"".join(pieces) == b"".join(sent)
    assert max(map(len, pieces)) <= 2 * limits.HTTP_READ_AHEAD
    _, options = server.world.last("transfer.load_archive")
    assert options.pop("reporter").expected == 0
    assert options == {
        "base_name": "a/b", "platform": "", "all_platforms": False, "unpack": False, "compress": True,
    }  # fmt: skip


async def test_a_refusal_before_the_end_of_the_body(server: Server) -> None:
    server.world.failures["transfer.load_archive"] = NotFound("no space for it")
    client = await chunked(server, [b"x" * 100], end=False)
    data = await client.rest()
    assert data.startswith(b"HTTP/1.1 404")
    assert b"no space for it" in data


async def test_a_body_that_breaks_off(server: Server) -> None:
    pieces = collect(server)
    client = await chunked(server, [b"half"], end=False)
    await client.stream.send_eof()
    data = await client.rest()
    assert data.startswith(b"HTTP/1.1 400")
    assert pieces == [b"half"]
    assert not [call for call in server.world.calls if call[0] == "transfer.load_archive"]


async def test_the_next_request_on_the_same_connection(server: Server) -> None:
    pieces = collect(server)
    client = await server.connect()
    for _ in range(2):
        answer = await client.request("POST", "/v1/default/archive", b"archive")
        assert answer.json()["images"][0]["name"] == "docker.io/library/redis:7"
    assert pieces == [b"archive", b"archive"]
