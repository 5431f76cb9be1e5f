"""The codes that containerd's clients rely on, and who may do what, on an agent's socket."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio

from tricorn import wire
from tricorn.grpc import Code, RpcError, open_channel
from tricorn_testing.daemon import Daemon, running_daemon
from tricorn_testing.grpc_client import GrpcClient, grpc_client, refused
from tricorn_testing.otheruser import connect_as, let_everybody_connect

pytestmark = [pytest.mark.root, pytest.mark.integration]

READER, STRANGER = 54321, 54322
CONFIG = f'[[access]]\nrole = "read"\nusers = ["{READER}"]\nnamespaces = ["ci-*"]\n'
ABSENT = "sha256:" + "0" * 64
RUNTIME = "io.containerd.runc.v2"
SPEC = {"type_url": "types.containerd.io/opencontainers/runtime-spec/1/Spec", "value": b"{}"}
CONTAINER = {"id": "web", "runtime": {"name": RUNTIME}, "spec": SPEC}
SANDBOX = {"sandbox_id": "pod", "runtime": {"name": RUNTIME}}

UNKNOWN: list[tuple[str, str, dict[str, Any]]] = [
    ("containers.v1.Containers", "Get", {"id": "nobody"}),
    ("containers.v1.Containers", "Update", {"container": {**CONTAINER, "id": "nobody"}}),
    ("containers.v1.Containers", "Delete", {"id": "nobody"}),
    ("content.v1.Content", "Info", {"digest": ABSENT}),
    ("content.v1.Content", "Update", {"info": {"digest": ABSENT}}),
    ("content.v1.Content", "Delete", {"digest": ABSENT}),
    ("content.v1.Content", "Status", {"ref": "nothing"}),
    ("content.v1.Content", "Abort", {"ref": "nothing"}),
    ("images.v1.Images", "Get", {"name": "nothing"}),
    ("images.v1.Images", "Delete", {"name": "nothing"}),
    ("introspection.v1.Introspection", "PluginInfo", {"type": "no.such.type", "id": "x"}),
    ("leases.v1.Leases", "Delete", {"id": "nothing"}),
    ("leases.v1.Leases", "ListResources", {"id": "nothing"}),
    ("leases.v1.Leases", "AddResource", {"id": "nothing", "resource": {"type": "images", "id": "a"}}),
    ("leases.v1.Leases", "DeleteResource", {"id": "nothing", "resource": {"type": "images", "id": "a"}}),
    ("namespaces.v1.Namespaces", "Get", {"name": "nowhere"}),
    ("namespaces.v1.Namespaces", "Update", {"namespace": {"name": "nowhere"}}),
    ("namespaces.v1.Namespaces", "Delete", {"name": "nowhere"}),
    ("sandbox.v1.Store", "Get", {"sandbox_id": "nothing"}),
    ("sandbox.v1.Store", "Update", {"sandbox": {**SANDBOX, "sandbox_id": "nothing"}}),
    ("sandbox.v1.Store", "Delete", {"sandbox_id": "nothing"}),
    ("snapshots.v1.Snapshots", "Stat", {"snapshotter": "native", "key": "nothing"}),
    ("snapshots.v1.Snapshots", "Mounts", {"snapshotter": "native", "key": "nothing"}),
    ("snapshots.v1.Snapshots", "Usage", {"snapshotter": "native", "key": "nothing"}),
    ("snapshots.v1.Snapshots", "Remove", {"snapshotter": "native", "key": "nothing"}),
    ("snapshots.v1.Snapshots", "Commit", {"snapshotter": "native", "key": "nothing", "name": "a"}),
    ("snapshots.v1.Snapshots", "Prepare", {"snapshotter": "native", "key": "a", "parent": "nothing"}),
    ("tasks.v1.Tasks", "Create", {"container_id": "nobody"}),
    *(
        ("tasks.v1.Tasks", method, {"container_id": "nobody"})
        for method in ("Start", "Delete", "Get", "Kill", "Pause", "Resume", "ListPids", "Wait", "CloseIO")
    ),
    ("mounts.v1.Mounts", "Info", {"name": "nothing"}),
    ("mounts.v1.Mounts", "Deactivate", {"name": "nothing"}),
]

MALFORMED: list[tuple[str, str, dict[str, Any]]] = [
    ("containers.v1.Containers", "Create", {"container": {**CONTAINER, "id": "a/b"}}),
    ("containers.v1.Containers", "Create", {"container": {**CONTAINER, "id": ""}}),
    ("containers.v1.Containers", "Create", {"container": {"id": "no-runtime", "spec": SPEC}}),
    ("containers.v1.Containers", "List", {"filters": ["id=="]}),
    ("content.v1.Content", "Info", {"digest": "sha256:zz"}),
    ("content.v1.Content", "Read", {"digest": "../../etc/passwd"}),
    ("content.v1.Content", "Delete", {"digest": "md5:00"}),
    ("events.v1.Events", "Publish", {"topic": "no-slash"}),
    ("events.v1.Events", "Publish", {"topic": "/a//b"}),
    ("events.v1.Events", "Forward", {"envelope": {"namespace": "n", "topic": "/a"}}),
    ("events.v1.Events", "Forward", {"envelope": {"namespace": "a/b", "topic": "/a"}}),
    ("images.v1.Images", "Create", {"image": {"name": "", "target": {"digest": ABSENT, "size": 1}}}),
    ("images.v1.Images", "Create", {"image": {"name": "a", "target": {"digest": "x", "size": 1}}}),
    ("leases.v1.Leases", "Create", {"id": "a", "labels": {"": "x"}}),
    ("leases.v1.Leases", "List", {"filters": ["~="]}),
    ("namespaces.v1.Namespaces", "Create", {"namespace": {"name": "a..b"}}),
    ("namespaces.v1.Namespaces", "Create", {"namespace": {"name": "version"}}),
    ("sandbox.v1.Store", "Create", {"sandbox": {**SANDBOX, "sandbox_id": "-"}}),
    ("sandbox.v1.Store", "Create", {"sandbox": {"sandbox_id": "no-runtime"}}),
    ("snapshots.v1.Snapshots", "Prepare", {"snapshotter": "no-such-snapshotter", "key": "a"}),
    ("snapshots.v1.Snapshots", "Prepare", {"snapshotter": "native", "key": ""}),
]

TWICE: list[tuple[str, str, dict[str, Any]]] = [
    ("containers.v1.Containers", "Create", {"container": CONTAINER}),
    ("images.v1.Images", "Create", {
        "image": {"name": "a", "target": {"media_type": "x/y", "digest": ABSENT, "size": 1}}
    }),
    ("leases.v1.Leases", "Create", {"id": "lease"}),
    ("namespaces.v1.Namespaces", "Create", {"namespace": {"name": "twice"}}),
    ("sandbox.v1.Store", "Create", {"sandbox": SANDBOX}),
    ("snapshots.v1.Snapshots", "Prepare", {"snapshotter": "native", "key": "active"}),
]  # fmt: skip


def named(case: tuple[str, str, dict[str, Any]]) -> str:
    return f"{case[0].rpartition('.')[2]}-{case[1]}"


@pytest.fixture(scope="module")
def agent() -> Iterator[Daemon]:
    with running_daemon(CONFIG) as daemon:
        let_everybody_connect(daemon)
        yield daemon


@pytest.fixture
async def client(agent: Daemon, request: pytest.FixtureRequest) -> AsyncIterator[GrpcClient]:
    """Root, in a namespace of the test's own."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    async with grpc_client(agent, name) as made:
        yield made


async def ask(client: GrpcClient, case: tuple[str, str, dict[str, Any]]) -> Any:
    service, method, fields = case
    found = wire.service(f"containerd.services.{service}").methods_by_name[method]
    call = client.stream if found.server_streaming else client.call
    return await call(service, method, **fields)


@pytest.mark.parametrize("case", UNKNOWN, ids=named)
async def test_an_unknown_object_is_not_found(
    client: GrpcClient, case: tuple[str, str, dict[str, Any]]
) -> None:
    with refused(Code.NOT_FOUND):
        await ask(client, case)


@pytest.mark.parametrize("case", MALFORMED, ids=named)
async def test_what_is_malformed_is_an_invalid_argument(
    client: GrpcClient, case: tuple[str, str, dict[str, Any]]
) -> None:
    with refused(Code.INVALID_ARGUMENT):
        await ask(client, case)


@pytest.mark.parametrize("case", TWICE, ids=named)
async def test_nothing_is_made_twice(client: GrpcClient, case: tuple[str, str, dict[str, Any]]) -> None:
    await ask(client, case)
    with refused(Code.ALREADY_EXISTS):
        await ask(client, case)


async def test_masks_name_what_can_be_changed(client: GrpcClient) -> None:
    await client.call("namespaces.v1.Namespaces", "Create", namespace={"name": "mask", "labels": {"a": "1"}})
    update = ("namespaces.v1.Namespaces", "Update")

    async def labels(paths: list[str], **labels: str) -> dict[str, str]:
        changed = await client.call(
            *update, namespace={"name": "mask", "labels": labels}, update_mask={"paths": paths}
        )
        return dict(changed.namespace.labels)

    assert await labels(["labels.b", "labels.c.d"], b="2", **{"c.d": "3"}) == {"a": "1", "b": "2", "c.d": "3"}
    assert await labels(["labels.a"], a="") == {"b": "2", "c.d": "3"}
    assert await labels([], e="4") == {"e": "4"}
    assert await labels(["labels"]) == {}
    with refused(Code.INVALID_ARGUMENT, "name"):
        await labels(["name"])


async def test_a_namespace_in_use_is_not_deleted(client: GrpcClient) -> None:
    await client.call("sandbox.v1.Store", "Create", sandbox=SANDBOX)
    with refused(Code.FAILED_PRECONDITION, "sandboxes (1)"):
        await client.call("namespaces.v1.Namespaces", "Delete", name=client.namespace)
    await client.call("sandbox.v1.Store", "Delete", sandbox_id="pod")
    await client.call("namespaces.v1.Namespaces", "Delete", name=client.namespace)


async def test_life_of_a_sandbox_record(client: GrpcClient) -> None:
    store = "sandbox.v1.Store"
    options = wire.any_of(wire.message("containerd.runc.v1.Options")(binary_name="crun"))
    extension = {"type_url": "example.org/x", "value": b"\x00\xff"}
    wanted = {
        "sandbox_id": "pod", "runtime": {"name": RUNTIME, "options": options}, "spec": SPEC,
        "labels": {"a": "1"}, "extensions": {"x": extension}, "sandboxer": "shim",
    }  # fmt: skip
    made = (await client.call(store, "Create", sandbox=wanted)).sandbox
    assert wire.datetime_of(made.created_at) is not None
    assert (made.runtime.options, made.spec.value, made.extensions["x"].value) == (
        options,
        b"{}",
        b"\x00\xff",
    )
    changed = {**wanted, "labels": {"b": "2"}, "extensions": {}, "spec": {"type_url": "t", "value": b"v"}}
    answer = await client.call(store, "Update", sandbox=changed, fields=["labels.b", "spec"])
    assert (dict(answer.sandbox.labels), answer.sandbox.spec.value) == ({"a": "1", "b": "2"}, b"v")
    assert "x" in answer.sandbox.extensions
    answer = await client.call(store, "Update", sandbox=changed)
    assert (dict(answer.sandbox.labels), len(answer.sandbox.extensions)) == ({"b": "2"}, 0)
    with refused(Code.INVALID_ARGUMENT, "runtime.name"):
        await client.call(store, "Update", sandbox={**changed, "runtime": {"name": "other"}})
    with refused(Code.INVALID_ARGUMENT, "created_at"):
        await client.call(store, "Update", sandbox=changed, fields=["created_at"])
    assert (await client.call(store, "Get", sandbox_id="pod")).sandbox == answer.sandbox
    assert list((await client.call(store, "List", filters=["labels.b==2"])).list) == [answer.sandbox]


async def test_leases_hold_resources_until_they_end(client: GrpcClient) -> None:
    leases = "leases.v1.Leases"
    made = (await client.call(leases, "Create")).lease
    assert made.id
    assert not made.labels  # it lasts until it is deleted, as in containerd
    held = [{"type": "content", "id": ABSENT}, {"type": "snapshots/native", "id": "a"}]
    for resource in held:
        await client.call(leases, "AddResource", id=made.id, resource=resource)
    with refused(Code.INVALID_ARGUMENT):
        await client.call(leases, "AddResource", id=made.id, resource={"type": "content", "id": "x"})
    await client.call(leases, "DeleteResource", id=made.id, resource=held[1])
    answer = await client.call(leases, "ListResources", id=made.id)
    assert [(item.type, item.id) for item in answer.resources] == [("content", ABSENT)]
    await client.call(leases, "Delete", id=made.id, sync=True)
    assert not (await client.call(leases, "List")).leases


# ---------------------------------------------------------------- who may do what
async def as_user(agent: Daemon, uid: int, namespace: str, service: str, method: str, **fields: Any) -> Any:
    async with open_channel(connect_as(agent, uid)) as channel:
        return await GrpcClient(channel, namespace).call(service, method, **fields)


async def test_a_reader_reads_where_the_rules_say(agent: Daemon) -> None:
    for namespace in ("ci-1", "secret"):
        async with grpc_client(agent, namespace) as root:
            await root.call("leases.v1.Leases", "Create", id="lease")
    shown = await as_user(agent, READER, "ci-1", "leases.v1.Leases", "List")
    assert [lease.id for lease in shown.leases] == ["lease"]
    with refused(Code.PERMISSION_DENIED):
        await as_user(agent, READER, "ci-1", "leases.v1.Leases", "Create")
    with refused(Code.PERMISSION_DENIED):
        await as_user(agent, READER, "secret", "leases.v1.Leases", "List")
    seen = await as_user(agent, READER, "ci-1", "namespaces.v1.Namespaces", "List")
    assert [namespace.name for namespace in seen.namespaces] == ["ci-1"]
    with refused(Code.PERMISSION_DENIED):
        await as_user(agent, READER, "ci-1", "namespaces.v1.Namespaces", "Get", name="secret")
    forwarded = {"namespace": "secret", "topic": "/a", "timestamp": {"seconds": 1}}
    with refused(Code.PERMISSION_DENIED):
        await as_user(agent, READER, "ci-1", "events.v1.Events", "Forward", envelope=forwarded)


async def test_strangers_learn_the_version_and_no_more(agent: Daemon) -> None:
    assert (await as_user(agent, STRANGER, "ci-1", "version.v1.Version", "Version")).version
    for service, method in (
        ("introspection.v1.Introspection", "Plugins"),
        ("namespaces.v1.Namespaces", "List"),
        ("containers.v1.Containers", "List"),
    ):
        with refused(Code.PERMISSION_DENIED):
            await as_user(agent, STRANGER, "ci-1", service, method)


async def test_subscribers_hear_only_of_what_they_may_read(agent: Daemon) -> None:
    answer = wire.message("containerd.types.Envelope")
    path = "/containerd.services.events.v1.Events/Subscribe"
    async with (
        open_channel(connect_as(agent, READER)) as channel,
        channel.stream(path, answer, timeout=60) as call,
    ):
        await call.send(wire.message("containerd.services.events.v1.SubscribeRequest")(), end=True)
        await GrpcClient(channel, "ci-1").call("leases.v1.Leases", "List")
        heard = await _until_heard(agent, call)
    assert {envelope.namespace for envelope in heard} == {"ci-1"}


async def _until_heard(agent: Daemon, call: Any) -> list[Any]:
    """Publish in both namespaces, over and over, until three events have come."""
    heard: list[Any] = []
    async with trio.open_nursery() as nursery:

        async def publish() -> None:
            while True:
                for namespace in ("secret", "ci-1"):
                    async with grpc_client(agent, namespace) as root:
                        await root.call("events.v1.Events", "Publish", topic="/made/up")
                await trio.sleep(0.02)

        nursery.start_soon(publish)
        while len(heard) < 3:
            heard.append(await call.receive())
        nursery.cancel_scope.cancel()
    return heard


async def test_a_reload_reaches_open_connections(agent: Daemon) -> None:
    async with open_channel(connect_as(agent, STRANGER)) as channel:
        client = GrpcClient(channel, "ci-2")
        with refused(Code.PERMISSION_DENIED):
            await client.call("leases.v1.Leases", "List")
        agent.write_config(CONFIG + CONFIG.replace(str(READER), str(STRANGER)))
        assert agent.process is not None
        agent.process.send_signal(signal.SIGHUP)
        with trio.fail_after(60):
            while True:
                with suppress(RpcError):
                    await client.call("leases.v1.Leases", "List")
                    break
                await trio.sleep(0.05)
