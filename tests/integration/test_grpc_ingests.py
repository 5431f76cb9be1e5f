"""Transfers into the content store over gRPC: every action, every code, leases and namespaces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from tricorn.grpc import Code, RpcError
from tricorn.model.ids import Digest
from tricorn_testing.content_client import (
    COMMIT,
    DATA,
    DEADLINE,
    DIGEST,
    STAT,
    WRITE,
    Client,
    Writer,
    content,
    content_client,
    make_lease,
    refused,
)
from tricorn_testing.daemon import Daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]


@pytest.fixture
async def client(agent: Daemon, own_namespace: str) -> AsyncIterator[Client]:
    async with content_client(agent, own_namespace) as made:
        yield made


class TestWriting:
    async def test_every_action(self, client: Client) -> None:
        async with client.writing("r", total=10, expected=Digest.of(b"0123456789")) as writer:
            state = await writer.ask(STAT)
            assert (state.offset, state.total, state.digest) == (0, 10, Digest.of(b""))
            assert state.started_at.seconds > 0
            state = await writer.ask(WRITE, data=b"01234")
            assert (state.action, state.offset, state.digest) == (WRITE, 5, Digest.of(b"01234"))
            (status,) = await client.statuses()
            assert (status.ref, status.offset, status.total) == ("r", 5, 10)
            state = await writer.ask(WRITE, offset=5, data=b"56")
            state = await writer.ask(COMMIT, offset=7, data=b"789", labels={"a": "b"})
            assert (state.action, state.offset, state.total) == (COMMIT, 10, 10)
            assert state.digest == Digest.of(b"0123456789")
            await writer.call.finish()
        assert dict((await client.info(state.digest)).labels) == {"a": "b"}
        assert await client.statuses() == []

    async def test_the_first_message_names_the_ref(self, client: Client) -> None:
        with refused(Code.INVALID_ARGUMENT, "reference"):
            async with client.writing(""):
                pass

    async def test_unknown_actions(self, client: Client) -> None:
        async with client.writing("r") as writer:
            with refused(Code.INVALID_ARGUMENT, "action"):
                await writer.ask(9)

    @pytest.mark.parametrize("offset", [1, 4, 1 << 40])
    async def test_only_the_current_offset(self, client: Client, offset: int) -> None:
        async with client.writing("r") as writer:
            await writer.ask(WRITE, data=b"abc")
            with refused(Code.OUT_OF_RANGE, "current offset 3"):
                await writer.ask(WRITE, offset=offset, data=b"x")
        assert (await client.statuses())[0].offset == 3

    async def test_offset_zero_begins_anew(self, client: Client) -> None:
        async with client.writing("r") as writer:
            await writer.ask(WRITE, data=b"wrong")
            state = await writer.ask(WRITE, data=b"right")
            assert (state.offset, state.digest) == (5, Digest.of(b"right"))

    async def test_known_blobs(self, client: Client) -> None:
        await client.put()
        with refused(Code.ALREADY_EXISTS):
            async with client.writing("r", expected=DIGEST):
                pass
        with refused(Code.ALREADY_EXISTS):
            async with client.writing("r") as writer:
                await writer.ask(COMMIT, data=DATA, expected=DIGEST)
        with refused(Code.ALREADY_EXISTS):
            async with client.writing("r") as writer:
                await writer.ask(COMMIT, data=DATA)
        assert await client.statuses() == []

    async def test_a_wrong_digest_leaves_the_ingest(self, client: Client) -> None:
        with refused(Code.FAILED_PRECONDITION, Digest.of(b"bytes")):
            async with client.writing("r", total=5, expected=DIGEST) as writer:
                await writer.ask(COMMIT, data=b"bytes")
        (status,) = await client.statuses()
        assert (status.ref, status.offset) == ("r", 5)
        async with client.writing("r") as writer:
            await writer.ask(COMMIT, offset=5, expected=Digest.of(b"bytes"))
        assert await client.read(Digest.of(b"bytes")) == b"bytes"

    async def test_a_wrong_size(self, client: Client) -> None:
        async with client.writing("r") as writer:
            with refused(Code.FAILED_PRECONDITION, "size"):
                await writer.ask(COMMIT, data=b"bytes", total=4)

    async def test_one_writer_a_ref(self, client: Client) -> None:
        async with client.writing("r") as writer:
            with refused(Code.UNAVAILABLE):
                async with client.writing("r"):
                    pass
            await writer.ask(COMMIT, data=b"one")

    async def test_a_lost_connection_leaves_the_bytes(self, client: Client) -> None:
        async with (
            content_client(client.agent, client.namespace, lease="") as other,
            other.writing("r", total=len(DATA)) as writer,
        ):
            await writer.ask(WRITE, data=DATA[:1_000_000])
        async with self.opened(client, "r") as writer:
            state = await writer.ask(STAT)
            assert (state.offset, state.digest) == (1_000_000, Digest.of(DATA[:1_000_000]))
            await writer.ask(COMMIT, offset=1_000_000, data=DATA[1_000_000:], expected=DIGEST)
        assert await client.read() == DATA

    @asynccontextmanager
    async def opened(self, client: Client, ref: str) -> AsyncIterator[Writer]:
        """Open the ref as soon as its last writer has let go."""
        async with AsyncExitStack() as stack:
            with trio.fail_after(DEADLINE):
                while True:
                    try:
                        writer = await stack.enter_async_context(client.writing(ref))
                        break
                    except RpcError as error:
                        if error.status.code is not Code.UNAVAILABLE:
                            raise
                        await trio.sleep(0.01)
            yield writer

    async def test_the_agent_may_die_meanwhile(self, daemon: Daemon) -> None:
        async with content_client(daemon, "n") as client, client.writing("r", total=len(DATA)) as writer:
            await writer.ask(WRITE, data=DATA[:1_000_000])
            await trio.to_thread.run_sync(daemon.kill)
            with refused(Code.UNAVAILABLE):
                await writer.call.receive()
        await trio.to_thread.run_sync(daemon.start)
        async with content_client(daemon, "n", "second") as client, client.writing("r") as writer:
            state = await writer.ask(STAT)
            assert (state.offset, state.total) == (1_000_000, len(DATA))
            await writer.ask(COMMIT, offset=1_000_000, data=DATA[1_000_000:], expected=DIGEST)
            assert (await client.info()).size == len(DATA)

    async def test_abort_ends_the_writer(self, client: Client) -> None:
        async with client.writing("r") as writer:
            await writer.ask(WRITE, data=DATA)
            await client.call("Abort", content.AbortRequest(ref="r"))
            with refused(Code.ABORTED):
                await writer.call.receive()
        assert await client.statuses() == []
        with refused(Code.NOT_FOUND):
            await client.call("Abort", content.AbortRequest(ref="r"))
        with refused(Code.NOT_FOUND):
            await client.call("Status", content.StatusRequest(ref="r"))

    async def test_statuses_are_filtered(self, client: Client) -> None:
        for ref in ("layer-1", "config-1"):
            async with client.writing(ref, total=7, expected=DIGEST) as writer:
                await writer.ask(WRITE, data=b"abc")
        request = content.ListStatusesRequest(filters=["ref~=layer"])
        (status,) = (await client.call("ListStatuses", request)).statuses
        assert (status.ref, status.offset, status.total, status.expected) == ("layer-1", 3, 7, DIGEST)
        assert (await client.call("Status", content.StatusRequest(ref="layer-1"))).status == status


class TestSharing:
    async def test_a_known_digest_needs_no_upload(self, client: Client) -> None:
        await client.put(secret="of the other")
        await make_lease(client.agent, f"{client.namespace}2", "l")
        other = Client(client.agent, client.channel, f"{client.namespace}2", lease="l")
        async with other.writing("r", total=len(DATA), expected=DIGEST) as writer:
            state = await writer.ask(STAT)
            assert (state.offset, state.digest) == (len(DATA), DIGEST)
            with refused(Code.NOT_FOUND):
                await other.info()
            await writer.ask(COMMIT, offset=len(DATA), total=len(DATA), labels={"own": "1"})
        assert dict((await other.info()).labels) == {"own": "1"}
        assert await other.read() == DATA
        await client.call("Delete", content.DeleteContentRequest(digest=DIGEST))
        assert await other.read() == DATA


class TestLeases:
    async def under(self, client: Client, lease: str) -> Client:
        if lease:
            await make_lease(client.agent, client.namespace, lease)
        return Client(client.agent, client.channel, client.namespace, lease=lease)

    async def end(self, client: Client) -> None:
        """End the client's lease and collect."""
        path = f"/v1/{client.namespace}/leases/{client.lease}"
        await trio.to_thread.run_sync(client.agent.delete, path)
        await self.collect_garbage(client)

    async def collect_garbage(self, client: Client) -> None:
        await trio.to_thread.run_sync(client.agent.post, "/v1/gc", {})

    async def test_what_a_lease_holds_stays(self, client: Client) -> None:
        loose = await (await self.under(client, "")).put(b"loose")
        await client.put()
        async with client.writing("begun") as writer:
            await writer.ask(WRITE, data=b"abc")
        await self.collect_garbage(client)
        assert await client.read() == DATA
        assert [status.ref for status in await client.statuses()] == ["begun"]
        with refused(Code.NOT_FOUND):
            await client.info(loose)
        await self.end(client)
        with refused(Code.NOT_FOUND):
            await client.info()
        assert await client.statuses() == []

    async def test_what_exists_is_held_too(self, client: Client) -> None:
        await client.put()
        second = await self.under(client, "second")
        with refused(Code.ALREADY_EXISTS):
            async with second.writing("r", expected=DIGEST):
                pass
        await self.end(client)
        assert await client.read() == DATA
        await self.end(second)
        with refused(Code.NOT_FOUND):
            await client.info()

    async def test_an_unknown_lease(self, client: Client) -> None:
        with refused(Code.NOT_FOUND, "lease"):
            await Client(client.agent, client.channel, client.namespace, lease="none").put()
