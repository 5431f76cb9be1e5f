"""Container records over gRPC: what any client of containerd may do to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tricorn import wire
from tricorn.grpc import Code
from tricorn_testing.daemon import Daemon
from tricorn_testing.grpc_client import GrpcClient, grpc_client, refused

pytestmark = [pytest.mark.root, pytest.mark.integration]

SERVICE = "containers.v1.Containers"
SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
messages = wire.package("containerd.services.containers.v1")


@pytest.fixture
async def client(agent: Daemon, own_namespace: str) -> AsyncIterator[GrpcClient]:
    async with grpc_client(agent, own_namespace) as made:
        yield made


def container(id: str = "web", **fields: Any) -> Any:
    usual = {
        "image": "a:1",
        "runtime": {"name": "io.containerd.runc.v2"},
        "spec": {"type_url": SPEC_TYPE, "value": b'{"ociVersion": "1.0.2"}'},
    }
    return messages.Container(id=id, **{**usual, **fields})


async def create(client: GrpcClient, made: Any) -> Any:
    return (await client.call(SERVICE, "Create", container=made)).container


async def get(client: GrpcClient, id: str = "web") -> Any:
    return (await client.call(SERVICE, "Get", id=id)).container


async def update(client: GrpcClient, changed: Any, *paths: str) -> Any:
    return (await client.call(SERVICE, "Update", container=changed, update_mask={"paths": paths})).container


async def test_create_get_delete(client: GrpcClient) -> None:
    wanted = container(
        labels={"a": "1", "empty": ""}, snapshotter="overlayfs", snapshot_key="web", sandbox="pod",
        spec={"type_url": SPEC_TYPE, "value": b'{ "ociVersion":"1.0.2",\n "x-kept": "\xc3\xa9" }'},
        extensions={"e": {"type_url": "x.E", "value": b"\x00\xff"}},
    )  # fmt: skip
    wanted.runtime.options.CopyFrom(
        wire.any_of(wire.message("containerd.runc.v1.Options")(binary_name="runc"))
    )
    made = await create(client, wanted)
    assert made.created_at == made.updated_at
    assert await get(client) == made
    for field in ("created_at", "updated_at"):
        made.ClearField(field)
    del wanted.labels["empty"]
    assert made == wanted
    with refused(Code.ALREADY_EXISTS):
        await create(client, wanted)
    await client.call(SERVICE, "Delete", id="web")
    for method in ("Get", "Delete"):
        with refused(Code.NOT_FOUND, "web"):
            await client.call(SERVICE, method, id="web")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": ""}, "id"),
        ({"id": "a/b"}, "id"),
        ({"runtime": {}}, "runtime"),
        ({"spec": None}, "spec"),
        ({"snapshot_key": "k"}, "snapshotter"),
        ({"labels": {"k": "v" * 5000}}, "label"),
    ],
    ids=["no-id", "bad-id", "no-runtime", "no-spec", "no-snapshotter", "long-label"],
)
async def test_incomplete_records_are_refused(client: GrpcClient, change: dict[str, Any], words: str) -> None:
    with refused(Code.INVALID_ARGUMENT, words):
        await create(client, container(**{"id": "web", **change}))


async def test_a_runtime_that_is_not_here_is_no_matter_for_a_record(client: GrpcClient) -> None:
    made = await create(client, container(runtime={"name": "io.containerd.kata.v2"}))
    assert (await get(client)).runtime == made.runtime


async def test_lists_and_filters(client: GrpcClient) -> None:
    await create(client, container("a", labels={"tier": "1"}))
    await create(client, container("b", image="other", runtime={"name": "io.containerd.runc.v1"}))

    async def ids(*filters: str) -> list[str]:
        answer = await client.call(SERVICE, "List", filters=filters)
        streamed = await client.stream(SERVICE, "ListStream", filters=filters)
        assert [one.container for one in streamed] == list(answer.containers)
        return [one.id for one in answer.containers]

    assert await ids() == ["a", "b"]
    assert await ids("labels.tier==1") == ["a"]
    assert await ids('image=="other"') == ["b"]
    assert await ids("runtime.name==io.containerd.runc.v1", "id==a") == ["a", "b"]
    assert await ids("id~=^[c-z]") == []
    with refused(Code.INVALID_ARGUMENT):
        await ids("id==")


async def test_an_update_without_a_mask_replaces_what_may_change(client: GrpcClient) -> None:
    made = await create(client, container(labels={"a": "1"}, extensions={"e": {"type_url": "x.E"}}))
    changed = await update(
        client, container(image="b:2", labels={"b": "2"}, spec={"type_url": "t", "value": b"s"})
    )
    assert changed == await get(client)
    assert (changed.image, dict(changed.labels)) == ("b:2", {"b": "2"})
    assert (changed.spec.type_url, changed.spec.value) == ("t", b"s")
    assert not changed.extensions
    assert changed.created_at == made.created_at


async def test_an_update_with_a_mask(client: GrpcClient) -> None:
    await create(client, container(labels={"a": "1", "b": "2"}))
    other = container(image="no", labels={"c": "3"}, extensions={"e": {"type_url": "x.E", "value": b"1"}})
    changed = await update(client, other, "labels.c", "labels.a", "extensions.e")
    assert dict(changed.labels) == {"b": "2", "c": "3"}
    assert changed.image == "a:1"
    assert changed.extensions["e"].value == b"1"


async def test_what_never_changes(client: GrpcClient) -> None:
    await create(client, container())
    with refused(Code.INVALID_ARGUMENT, "immutable"):
        await update(client, container(runtime={"name": "other"}))
    with refused(Code.INVALID_ARGUMENT, "immutable"):
        await update(client, container(snapshotter="native"))
    with refused(Code.INVALID_ARGUMENT, "runtime"):
        await update(client, container(), "runtime")
    with refused(Code.INVALID_ARGUMENT):
        await update(client, container(""))
    with refused(Code.NOT_FOUND):
        await update(client, container("no"))


async def test_events(client: GrpcClient, agent: Daemon) -> None:
    path = f"/v1/{client.namespace}/events"
    cursor = agent.get(path)["cursor"]
    await create(client, container())
    await update(client, container(labels={"a": "1"}))
    await client.call(SERVICE, "Delete", id="web")
    events = [
        (one["topic"], one["event"])
        for one in agent.get(path, since=cursor)["items"]
        if "containers" in one["topic"]
    ]
    assert [topic for topic, _ in events] == [
        "/containers/create",
        "/containers/update",
        "/containers/delete",
    ]
    assert events[0][1] == {"id": "web", "image": "a:1", "runtime": {"name": "io.containerd.runc.v2"}}
    assert events[1][1]["labels"] == {"a": "1"}
