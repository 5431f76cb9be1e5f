"""Blobs over gRPC: what is known of them, and streams of their bytes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from tricorn.grpc import Code
from tricorn_testing.content_client import (
    COMMIT,
    DATA,
    DIGEST,
    WRITE,
    Client,
    content,
    content_client,
    refused,
)
from tricorn_testing.daemon import Daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]


@pytest.fixture
async def client(agent: Daemon, own_namespace: str) -> AsyncIterator[Client]:
    async with content_client(agent, own_namespace) as made:
        yield made


class TestBlobs:
    async def test_info_update_list_delete(self, client: Client) -> None:
        await client.put(a="1", b="2")
        info = await client.info()
        assert (info.digest, info.size, dict(info.labels)) == (DIGEST, len(DATA), {"a": "1", "b": "2"})
        assert info.created_at.seconds > 0
        request = content.UpdateRequest(info=content.Info(digest=DIGEST, labels={"a": "3", "c": "4"}))
        request.update_mask.paths.extend(["labels.a", "labels.b"])
        changed = await client.call("Update", request)
        assert dict(changed.info.labels) == {"a": "3"}
        small = await client.put(b"small")
        (listed,) = await client.collect("List", content.ListContentRequest(), content.ListContentResponse)
        assert {item.digest for item in listed.info} == {DIGEST, small}
        request = content.ListContentRequest(filters=["labels.a==3"])
        (listed,) = await client.collect("List", request, content.ListContentResponse)
        assert [item.digest for item in listed.info] == [DIGEST]
        await client.call("Delete", content.DeleteContentRequest(digest=DIGEST))
        with refused(Code.NOT_FOUND):
            await client.info()
        with refused(Code.NOT_FOUND):
            await client.call("Delete", content.DeleteContentRequest(digest=DIGEST))

    async def test_long_lists_come_in_parts(self, client: Client) -> None:
        for number in range(101):
            await client.put(b"%d" % number, ref=f"r{number}")
        parts = await client.collect("List", content.ListContentRequest(), content.ListContentResponse)
        assert [len(part.info) for part in parts] == [100, 1]
        request = content.ListContentRequest(filters=["digest==none"])
        assert await client.collect("List", request, content.ListContentResponse) == []

    async def test_masks_name_labels_only(self, client: Client) -> None:
        await client.put()
        request = content.UpdateRequest(info=content.Info(digest=DIGEST))
        request.update_mask.paths.append("size")
        with refused(Code.INVALID_ARGUMENT, "size"):
            await client.call("Update", request)

    @pytest.mark.parametrize("digest", ["", "sha256:../../../etc/passwd", "sha256:" + "g" * 64, "x" * 4000])
    async def test_only_digests_name_blobs(self, client: Client, digest: str) -> None:
        for method, request in (
            ("Info", content.InfoRequest(digest=digest)),
            ("Update", content.UpdateRequest(info=content.Info(digest=digest))),
            ("Delete", content.DeleteContentRequest(digest=digest)),
        ):
            with refused(Code.INVALID_ARGUMENT):
                await client.call(method, request)
        with refused(Code.INVALID_ARGUMENT):
            await client.read(digest)
        if digest:
            with refused(Code.INVALID_ARGUMENT):
                async with client.writing("r", expected=digest):
                    pass

    async def test_the_namespace_is_required(self, client: Client) -> None:
        path = "/containerd.services.content.v1.Content/Info"
        with refused(Code.FAILED_PRECONDITION, "namespace is required"):
            await client.channel.unary(path, content.InfoRequest(digest=DIGEST), content.InfoResponse)


class TestReading:
    async def test_parts(self, client: Client) -> None:
        await client.put()
        assert await client.read() == DATA
        assert await client.read(offset=2_500_000) == DATA[2_500_000:]
        assert await client.read(offset=100, size=1_500_000) == DATA[100:1_500_100]
        assert await client.read(offset=len(DATA) - 1, size=10) == DATA[-1:]
        assert await client.read(offset=len(DATA)) == b""
        assert await client.read(offset=-7, size=-7) == DATA
        with refused(Code.OUT_OF_RANGE):
            await client.read(offset=len(DATA) + 1)
        assert await client.read(await client.put(b"")) == b""

    async def test_a_client_may_leave_early(self, client: Client) -> None:
        await client.put()
        path = "/containerd.services.content.v1.Content/Read"
        request = content.ReadContentRequest(digest=DIGEST)
        for _ in range(5):
            async with client.channel.stream(path, content.ReadContentResponse, client.metadata) as call:
                await call.send(request, end=True)
                assert (await call.receive()).data == DATA[: 1 << 20]
        assert await client.read() == DATA

    async def test_a_slow_reader_costs_no_memory(self, client: Client, agent: Daemon) -> None:
        """Back-pressure: what a client doesn't take isn't read from the disk."""
        big = os.urandom(1 << 20) * 64
        digest = await put_in_pieces(client, big)
        before = resident(agent.pid)
        path = "/containerd.services.content.v1.Content/Read"
        async with client.channel.stream(path, content.ReadContentResponse, client.metadata) as call:
            await call.send(content.ReadContentRequest(digest=digest), end=True)
            assert await call.receive()
            await client.info(digest)  # the connection still serves others
            assert resident(agent.pid) - before < 40 << 20
            received = 1 << 20
            while (piece := await call.receive()) is not None:
                received += len(piece.data)
        assert received == len(big)


async def put_in_pieces(client: Client, data: bytes) -> str:
    async with client.writing("pieces", total=len(data)) as writer:
        for start in range(0, len(data), 1 << 20):
            answer = await writer.ask(WRITE, offset=start, data=data[start : start + (1 << 20)])
        answer = await writer.ask(COMMIT, offset=len(data), total=len(data))
    return str(answer.digest)


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
