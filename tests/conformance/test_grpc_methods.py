"""Every method of containerd's services on an agent's socket, after the table of the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tricorn import wire
from tricorn.grpc import Code, GrpcChannel, RpcError, open_channel
from tricorn_testing.daemon import Daemon, running_daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]

TABLE = Path(__file__).with_name("containerd_api.tsv")
NAMESPACE = [("containerd-namespace", "every-method")]
DEADLINE = 60.0
# What this agent doesn't do, and says so. All else of the table must be there.
DECLARED: frozenset[str] = frozenset()
# Methods that are about the node, or about the namespace that their request names.
NOT_NAMESPACED = {
    "/containerd.services.events.v1.Events/Forward",
    "/containerd.services.events.v1.Events/Subscribe",
    "/containerd.services.version.v1.Version/Version",
}
NOT_NAMESPACED_SERVICES = ("namespaces.v1", "introspection.v1")
# These wait for their client: they have tests of their own.
ENDLESS = {"/containerd.services.events.v1.Events/Subscribe", "/grpc.health.v1.Health/Watch"}


def paths() -> list[str]:
    """Return the methods of all services that a daemon's own socket has."""
    services = [
        line.split("\t")[1] for line in TABLE.read_text().splitlines() if line.startswith("service\t")
    ]
    known = [name for name in services if name.startswith("containerd.services.") and ".ttrpc." not in name]
    known.append("grpc.health.v1.Health")
    return [f"/{name}/{method.name}" for name in known for method in wire.service(name).methods]


def method_of(path: str) -> Any:
    _, service, method = path.split("/")
    return wire.service(service).methods_by_name[method]


@pytest.fixture(scope="module")
def agent() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture
async def channel(agent: Daemon) -> AsyncIterator[GrpcChannel]:
    async with open_channel(agent.socket_path) as opened:
        yield opened


async def outcome(channel: GrpcChannel, path: str, metadata: list[tuple[str, str]]) -> RpcError | None:
    """Call a method with an empty request and read its answers to the end."""
    method = method_of(path)
    answer, request = wire.message(method.output_type.full_name), wire.message(method.input_type.full_name)()
    try:
        async with channel.stream(path, answer, metadata, DEADLINE) as call:
            await call.send(request, end=True)
            while await call.receive() is not None:
                pass
            await call.finish()
    except RpcError as error:
        return error
    return None


@pytest.mark.parametrize("path", [path for path in paths() if path not in ENDLESS])
async def test_the_method_is_there(channel: GrpcChannel, path: str) -> None:
    error = await outcome(channel, path, NAMESPACE)
    code = error.status.code if error else Code.OK
    if path in DECLARED:
        assert code is Code.UNIMPLEMENTED
        assert error is not None
        assert "unknown method" not in error.status.message  # it says why
    else:
        assert code not in {Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNKNOWN, Code.DEADLINE_EXCEEDED}, error


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in paths()
        if path.startswith("/containerd.")
        and path not in NOT_NAMESPACED | DECLARED
        and not path.startswith(tuple(f"/containerd.services.{name}." for name in NOT_NAMESPACED_SERVICES))
    ],
)
async def test_a_namespace_is_required(channel: GrpcChannel, path: str) -> None:
    error = await outcome(channel, path, [])
    assert error is not None
    assert error.status.code is Code.FAILED_PRECONDITION
    assert "namespace is required" in error.status.message


@pytest.mark.parametrize("path", sorted(NOT_NAMESPACED - ENDLESS))
async def test_without_a_namespace_the_node_answers(channel: GrpcChannel, path: str) -> None:
    error = await outcome(channel, path, [])
    assert error is None or "namespace is required" not in error.status.message


async def test_unknown_methods_and_services(channel: GrpcChannel) -> None:
    empty = wire.message("google.protobuf.Empty")
    for path in ("/containerd.services.version.v1.Version/Nothing", "/no.such.Service/Method", "/x"):
        with pytest.raises(RpcError) as caught:
            await channel.unary(path, empty(), empty, timeout=DEADLINE)
        assert caught.value.status.code is Code.UNIMPLEMENTED


# ---------------------------------------------------------------- what lasts as long as its client wants
@asynccontextmanager
async def streaming(channel: GrpcChannel, path: str, **fields: Any) -> AsyncIterator[Any]:
    method = method_of(path)
    answer = wire.message(method.output_type.full_name)
    with trio.fail_after(DEADLINE):
        async with channel.stream(path, answer, NAMESPACE) as call:
            await call.send(wire.message(method.input_type.full_name)(**fields), end=True)
            yield call


async def test_health(channel: GrpcChannel) -> None:
    messages = wire.package("grpc.health.v1")
    for service in ("", "grpc.health.v1.Health", "containerd.services.images.v1.Images"):
        answer = await channel.unary(
            "/grpc.health.v1.Health/Check", messages.HealthCheckRequest(service=service),
            messages.HealthCheckResponse, timeout=DEADLINE,
        )  # fmt: skip
        assert answer.status == messages.HealthCheckResponse.SERVING
        async with streaming(channel, "/grpc.health.v1.Health/Watch", service=service) as call:
            assert (await call.receive()).status == messages.HealthCheckResponse.SERVING
    async with streaming(channel, "/grpc.health.v1.Health/Watch", service="nothing") as call:
        assert (await call.receive()).status == messages.HealthCheckResponse.SERVICE_UNKNOWN


async def test_subscribe_sends_what_happens_from_then_on(channel: GrpcChannel) -> None:
    events = wire.package("containerd.services.events.v1")
    empty = wire.message("google.protobuf.Empty")
    happened = wire.message("containerd.events.TaskStart")(container_id="web", pid=7)

    async def publish(topic: str) -> None:
        request = events.PublishRequest(topic=topic, event=wire.any_of(happened))
        await channel.unary(
            "/containerd.services.events.v1.Events/Publish", request, empty, NAMESPACE, DEADLINE
        )

    filters = ['topic=="/tasks/start",event.container_id==web', 'topic=="/other/topic"']
    async with (
        streaming(channel, "/containerd.services.events.v1.Events/Subscribe", filters=filters) as call,
        trio.open_nursery() as nursery,
    ):

        async def until_heard() -> None:
            # The subscription begins some time after its request was sent; nothing tells when.
            while True:
                await publish("/tasks/start")
                await trio.sleep(0.02)

        nursery.start_soon(until_heard)
        first = await call.receive()
        nursery.cancel_scope.cancel()
    assert (first.namespace, first.topic) == ("every-method", "/tasks/start")
    assert wire.unpack(first.event) == happened
    assert wire.datetime_of(first.timestamp) is not None


async def test_forward_keeps_namespace_time_and_type(channel: GrpcChannel) -> None:
    envelope = wire.package("containerd.types").Envelope(
        namespace="elsewhere",
        topic="/made/up",
        timestamp={"seconds": 1_700_000_000, "nanos": 250_000_000},
        event={"type_url": "example.org/some.Thing", "value": b"\x00\xff"},
    )
    request = wire.package("containerd.services.events.v1").ForwardRequest(envelope=envelope)
    empty = wire.message("google.protobuf.Empty")
    async with (
        streaming(
            channel, "/containerd.services.events.v1.Events/Subscribe", filters=['topic=="/made/up"']
        ) as call,
        trio.open_nursery() as nursery,
    ):

        async def until_heard() -> None:
            while True:
                await channel.unary(
                    "/containerd.services.events.v1.Events/Forward", request, empty, (), DEADLINE
                )
                await trio.sleep(0.02)

        nursery.start_soon(until_heard)
        assert await call.receive() == envelope
        nursery.cancel_scope.cancel()
