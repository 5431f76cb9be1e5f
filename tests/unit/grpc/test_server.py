"""Calls of each shape, and each way in which a call can end."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel

from tricorn.grpc import (
    Call,
    Code,
    GrpcChannel,
    GrpcServer,
    Method,
    RawMessage,
    RpcError,
    Status,
    open_channel,
)
from tricorn_testing.grpc_calls import Blob, Door, Handlers, eventually, open_door, translate


async def refused(channel: GrpcChannel, path: str, data: bytes = b"", timeout: float | None = None) -> Status:
    with pytest.raises(RpcError) as caught:
        await channel.unary(path, Blob(data), Blob, timeout=timeout)
    return caught.value.status


async def test_unary(channel: GrpcChannel) -> None:
    assert await channel.unary("/t.T/Echo", Blob(b"hello"), Blob) == Blob(b"hello")
    assert await channel.unary("/t.T/Echo", Blob(), Blob) == Blob()


async def test_server_stream(channel: GrpcChannel) -> None:
    async with channel.stream("/t.T/Count", Blob) as call:
        await call.send(Blob(b"3"), end=True)
        assert [(await call.receive()).data for _ in range(3)] == [b"0", b"1", b"2"]
        assert await call.receive() is None
        assert call.headers[":status"] == "200"
        assert call.trailers["grpc-status"] == "0"


async def test_client_stream(channel: GrpcChannel) -> None:
    async with channel.stream("/t.T/Sum", Blob) as call:
        for size in (0, 1, 70_000):
            await call.send(Blob(b"x" * size))
        call.close_send()
        assert await call.receive() == Blob(b"70001")
        await call.finish()


async def test_both_ways_with_messages_of_any_size(channel: GrpcChannel) -> None:
    async with channel.stream("/t.T/Chat", Blob) as call:
        for size in (0, 1, 16_384, 1_048_576, 3_000_001):
            payload = bytes(range(256)) * (size // 256 + 1)
            await call.send(Blob(payload[:size]))
            assert (await call.receive()).data == payload[:size]
        call.close_send()
        assert await call.receive() is None


async def test_many_at_the_same_time(channel: GrpcChannel) -> None:
    answers: list[bytes] = []

    async def ask(number: int) -> None:
        answers.append((await channel.unary("/t.T/Echo", Blob(b"%d" % number * 3000), Blob)).data)

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(ask, number)
    assert sorted(answers) == sorted(b"%d" % number * 3000 for number in range(200))


async def test_what_the_handler_sees(channel: GrpcChannel, handlers: Handlers) -> None:
    metadata = [("containerd-namespace", "k8s.io"), ("x-bin", b"\x00\x01")]
    await channel.unary("/t.T/Echo", Blob(), Blob, metadata, timeout=60)
    (call,) = handlers.calls
    assert call.metadata["containerd-namespace"] == "k8s.io"
    assert call.binary_metadata == {"x-bin": b"\x00\x01"}
    assert call.peer == "peer"
    assert call.method.path == "/t.T/Echo"
    assert call.deadline is not None
    assert 0 < call.deadline - trio.current_time() <= 60


async def test_trailing_metadata(channel: GrpcChannel) -> None:
    async with channel.stream("/t.T/Trail", Blob) as call:
        await call.send(Blob(b"x"), end=True)
        await call.receive()
        await call.finish()
        assert call.trailers["x-text"].encode() == "äö".encode()
        assert call.binary_trailers["x-raw-bin"] == b"\x00\xff"


async def test_statuses_travel_whole(channel: GrpcChannel) -> None:
    status = await refused(channel, "/t.T/Fail")
    assert status == Status(Code.NOT_FOUND, "nö 100% \n", b"details\x00")


@pytest.mark.parametrize("data", [b"group", b"cancelled"])
async def test_exceptions_are_translated(channel: GrpcChannel, data: bytes) -> None:
    status = await refused(channel, "/t.T/Fail", data)
    assert status.code is Code.FAILED_PRECONDITION
    assert status.message.startswith("translated")


async def test_a_translator_that_fails_costs_one_call(channel: GrpcChannel) -> None:
    status = await refused(channel, "/t.T/Fail", b"mistake")
    assert status.code is Code.INTERNAL
    assert "id " in status.message
    assert await channel.unary("/t.T/Echo", Blob(b"x"), Blob) == Blob(b"x")


async def test_unknown_methods(channel: GrpcChannel) -> None:
    status = await refused(channel, "/t.T/Nothing")
    assert status == Status(Code.UNIMPLEMENTED, "unknown method /t.T/Nothing")


async def test_requests_that_cannot_be_parsed(channel: GrpcChannel) -> None:
    status = await refused(channel, "/t.T/Echo", b"unparsable")
    assert status == Status(Code.INTERNAL, "the request message can't be parsed")


async def test_a_call_without_its_message(channel: GrpcChannel) -> None:
    async with channel.stream("/t.T/Echo", Blob) as call:
        call.close_send()
        with pytest.raises(RpcError, match="no request message"):
            await call.receive()


async def test_messages_over_the_limit_cost_one_call(channel: GrpcChannel) -> None:
    status = await refused(channel, "/t.T/Echo", b"x" * (16 * 1024 * 1024 + 1))
    assert status.code is Code.RESOURCE_EXHAUSTED
    assert await channel.unary("/t.T/Echo", Blob(b"x"), Blob) == Blob(b"x")


async def test_the_deadline_cancels_the_handler(channel: GrpcChannel, handlers: Handlers) -> None:
    status = await refused(channel, "/t.T/Sleep", timeout=0.05)
    assert status.code is Code.DEADLINE_EXCEEDED
    await eventually(lambda: handlers.seen == ["sleep began", "sleep cancelled"])


async def test_the_client_cancels(channel: GrpcChannel, handlers: Handlers, server: GrpcServer) -> None:
    async with channel.stream("/t.T/Chat", Blob) as call:
        await call.send(Blob(b"x"))
        await call.receive()
    with trio.move_on_after(0.05):
        await channel.unary("/t.T/Sleep", Blob(), Blob)
    await eventually(lambda: "sleep cancelled" in handlers.seen)
    await eventually(lambda: server.statistics()["calls_open"] == 0)
    assert server.statistics()["calls_cancelled"] == 2


async def test_connection_loss_cancels(door: Door, handlers: Handlers, server: GrpcServer) -> None:
    stream = await door.connect()
    async with trio.open_nursery() as nursery, open_channel(stream) as channel:
        nursery.start_soon(refused, channel, "/t.T/Sleep")
        await eventually(lambda: handlers.seen)
        await stream.aclose()
        await eventually(lambda: server.statistics()["connections"] == 0)
    assert handlers.seen == ["sleep began", "sleep cancelled"]


async def test_an_early_answer_ends_the_upload(channel: GrpcChannel) -> None:
    async with channel.stream("/t.T/Early", Blob) as call:
        with pytest.raises(RpcError, match="enough"):
            for _ in range(100):
                await call.send(Blob(b"x" * 500_000))
    assert await channel.unary("/t.T/Echo", Blob(b"x"), Blob) == Blob(b"x")


async def test_before_sees_calls_first(handlers: Handlers) -> None:
    seen: list[str] = []

    async def before(call: Call) -> None:
        seen.append(call.method.path)
        await trio.lowlevel.checkpoint()
        if "forbidden" in call.metadata:
            raise RpcError.of(Code.PERMISSION_DENIED, "no")

    server = GrpcServer(handlers.methods(), before=before, translate=translate)
    async with open_door(server) as door, open_channel(await door.connect()) as channel:
        assert await channel.unary("/t.T/Echo", Blob(b"x"), Blob) == Blob(b"x")
        with pytest.raises(RpcError, match="PERMISSION_DENIED"):
            await channel.unary("/t.T/Echo", Blob(b"x"), Blob, [("forbidden", "1")])
    assert seen == ["/t.T/Echo"] * 2
    assert len(handlers.calls) == 1


async def test_an_observer_is_told_each_call(handlers: Handlers) -> None:
    told: list[tuple[str, Code]] = []
    server = GrpcServer(
        handlers.methods(),
        translate=translate,
        observe=lambda path, code, _seconds: told.append((path, code)),
    )
    async with open_door(server) as door, open_channel(await door.connect()) as channel:
        await channel.unary("/t.T/Echo", Blob(), Blob)
        await refused(channel, "/t.T/Fail")
        await refused(channel, "/no/such")
    assert told == [("/t.T/Echo", Code.OK), ("/t.T/Fail", Code.NOT_FOUND), ("unmatched", Code.UNIMPLEMENTED)]


async def test_statistics(channel: GrpcChannel, server: GrpcServer) -> None:
    await channel.unary("/t.T/Echo", Blob(), Blob)
    await refused(channel, "/t.T/Fail")
    assert server.statistics() == {
        "connections": 1, "connections_idle": 1, "protocol_violations": 0, "calls_open": 0, "calls_started": 2,
        "calls_failed": 1, "calls_cancelled": 0,
    }  # fmt: skip


async def test_raw_messages_in_parts(handlers: Handlers) -> None:
    async def handler(call: Call, request: Blob) -> RawMessage:
        return RawMessage((b"pre", memoryview(request.data * 100_000), b"", b"fix"))

    server = GrpcServer({"/r": Method("/r", Blob, Blob, False, False, handler)}, translate=translate)
    async with open_door(server) as door, open_channel(await door.connect()) as channel:
        assert (await channel.unary("/r", Blob(b"ab"), Blob)).data == b"pre" + b"ab" * 100_000 + b"fix"


async def test_memory_streams_will_do(door: Door) -> None:
    async with open_channel(door.connect_memory()) as channel:
        assert await channel.unary("/t.T/Echo", Blob(b"x" * 200_000), Blob) == Blob(b"x" * 200_000)
