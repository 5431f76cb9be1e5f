"""The Trio client moves images, against the real door with fake services behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from tricorn.client import Client
from tricorn.errors import DataLoss, NotFound, Unavailable
from tricorn.model.requests import ImagePush
from tricorn_testing.api import DIGEST, Server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.path) as made:
        yield made


async def test_push_and_tag(server: Server, client: Client) -> None:
    result = await client.images.push("redis:7", ImagePush("registry.example/r:1"))
    assert result.digest == DIGEST
    assert (await client.images.tag("redis:7", "a:1")).name == "docker.io/library/redis:7"
    async with client.images.push_work("redis:7") as work:
        assert (await work.wait()).digest == DIGEST
    server.world.failures["transfer.push_as"] = Unavailable("no registry")
    with pytest.raises(Unavailable, match="no registry"):
        await client.images.push("redis:7")


async def test_export(server: Server, client: Client) -> None:
    server.world.stream_items = [b"some", b"thing"]
    async with client.images.export(["redis:7"], all_platforms=True) as parts:
        assert b"".join([part async for part in parts]) == b"something"
    server.world.stream_items = [b"some", DataLoss("damaged")]
    with pytest.raises(Unavailable, match="closed the connection"):
        async with client.images.export(["redis:7"]) as parts:
            async for _ in parts:
                pass


async def parts(*items: bytes) -> AsyncIterator[bytes]:
    for item in items:
        await trio.lowlevel.checkpoint()
        yield item


async def test_import(server: Server, client: Client) -> None:
    got: list[bytes] = []
    load = server.world.services.transfer.load_archive

    async def reading(namespace: str, receive: Any, **options: Any) -> Any:
        while piece := await receive():
            got.append(piece)
        return await load(namespace, **options)

    server.world.services.transfer.load_archive = reading
    for _ in range(2):  # the connection serves again
        result = await client.images.load(parts(b"ar", b"", b"chive"), base_name="a/b", unpack=False)
        assert result.images[0].name == "docker.io/library/redis:7"
    assert b"".join(got) == b"archive" * 2
    _, options = server.world.last("transfer.load_archive")
    assert (options["base_name"], options["unpack"]) == ("a/b", False)


async def test_an_import_refused_before_its_end(server: Server, client: Client) -> None:
    """The rest of a long archive isn't sent once the agent has answered."""
    server.world.failures["transfer.load_archive"] = NotFound("nothing for platform")
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            await trio.lowlevel.checkpoint()
            sent += 1
            yield bytes(65536)

    with trio.fail_after(30), pytest.raises(NotFound, match="nothing for platform"):
        await client.images.load(endless())
    assert sent < 10_000
