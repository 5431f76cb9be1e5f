"""The gRPC door of a running agent: opened by its first client, closed with the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tricorn import wire
from tricorn.grpc import Code, GrpcChannel, RpcError, open_channel
from tricorn_testing.daemon import Daemon, running_daemon
from tricorn_testing.grpc_client import GrpcClient, grpc_client

pytestmark = [pytest.mark.root, pytest.mark.integration]

DEADLINE = 60.0


@pytest.fixture
def agent() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


def has_loaded(agent: Daemon, library: str) -> bool:
    return library in Path(f"/proc/{agent.pid}/maps").read_text()


async def test_the_first_client_opens_the_door(agent: Daemon) -> None:
    assert not has_loaded(agent, "_upb")  # protobuf's runtime
    async with trio.open_nursery() as nursery:  # at the same time: it is opened once
        for _ in range(5):
            nursery.start_soon(ask_version, agent)
    assert has_loaded(agent, "_upb")
    _, _, text = await trio.to_thread.run_sync(agent.exchange, "GET", "/metrics")
    figures = text.decode()
    call = 'code="OK",method="/containerd.services.version.v1.Version/Version"'
    assert f"tricorn_grpc_calls_total{{{call}}} 5.0" in figures
    assert 'tricorn_statistic{name="grpc.calls_started"} 5.0' in figures


async def ask_version(agent: Daemon) -> None:
    async with grpc_client(agent, "any") as client:
        assert (await client.call("version.v1.Version", "Version")).version


async def test_a_stopping_agent_ends_what_would_never_end(agent: Daemon) -> None:
    """Streams and waits without an end are told that the agent is unavailable; the agent ends in order."""
    ended: list[Code] = []
    begun = trio.Event()
    async with open_channel(agent.socket_path) as channel:
        async with trio.open_nursery() as nursery:
            for path, request in (
                (
                    "/containerd.services.events.v1.Events/Subscribe",
                    "containerd.services.events.v1.SubscribeRequest",
                ),
                ("/grpc.health.v1.Health/Watch", "grpc.health.v1.HealthCheckRequest"),
            ):
                nursery.start_soon(until_it_ends, channel, path, request, ended, begun)
            await begun.wait()
            # The streams' requests went before this one on the same connection.
            await GrpcClient(channel, "any").call("version.v1.Version", "Version")
            assert await trio.to_thread.run_sync(agent.terminate) == 0
        assert ended == [Code.UNAVAILABLE] * 2
        with pytest.raises(RpcError) as caught:
            await GrpcClient(channel, "any").call("version.v1.Version", "Version")
        assert caught.value.status.code is Code.UNAVAILABLE
    await trio.to_thread.run_sync(agent.start)
    await ask_version(agent)


async def until_it_ends(
    channel: GrpcChannel, path: str, request: str, ended: list[Code], begun: trio.Event
) -> None:
    with trio.fail_after(DEADLINE):
        async with channel.stream(path, wire.message("google.protobuf.Empty")) as call:
            await call.send(wire.message(request)(), end=True)
            if path.endswith("Watch"):
                await call.receive()
                begun.set()
            try:
                while await call.receive() is not None:
                    pass
            except RpcError as error:
                ended.append(error.status.code)
