"""Tasks over gRPC: every method, and the codes that clients tell errors by."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tricorn import wire
from tricorn.grpc import Code
from tricorn_testing.daemon import Daemon
from tricorn_testing.grpc_client import DEADLINE, GrpcClient, refused

pytestmark = [pytest.mark.root, pytest.mark.integration]

TASKS = "tasks.v1.Tasks"
OCI = "types.containerd.io/opencontainers/runtime-spec/1"
CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4
ANY = wire.message("google.protobuf.Any")
VERSION = "v1" if os.path.isdir("/sys/fs/cgroup/memory") else "v2"


def oci(kind: str, value: Any) -> Any:
    return ANY(type_url=f"{OCI}/{kind}", value=json.dumps(value).encode())


def spec(client: GrpcClient, id: str, args: list[str]) -> dict[str, Any]:
    return {
        "ociVersion": "1.1.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": f"/{client.namespace}/{id}",
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "network")],
        },
    }


async def make(client: GrpcClient, *args: str, id: str = "web", **task: Any) -> Any:
    """Make a container over the image's snapshot, and its task; return what Create answered."""
    found = await client.stream(
        "snapshots.v1.Snapshots", "List", snapshotter="overlayfs", filters=["kind==committed"]
    )
    parent = found[0].info[0].name
    asked = {
        "snapshotter": "overlayfs",
        "key": id,
        "parent": parent,
        "labels": {"containerd.io/gc.root": "t"},
    }
    mounts = (await client.call("snapshots.v1.Snapshots", "Prepare", **asked)).mounts
    container = {
        "id": id, "snapshotter": "overlayfs", "snapshot_key": id, "image": "a",
        "runtime": {"name": "io.containerd.runc.v2"}, "spec": oci("Spec", spec(client, id, list(args))),
    }  # fmt: skip
    await client.call("containers.v1.Containers", "Create", container=container)
    return await client.call(TASKS, "Create", container_id=id, rootfs=mounts, **task)


async def status(client: GrpcClient, **of: str) -> int:
    return int((await client.call(TASKS, "Get", **{"container_id": "web", **of})).process.status)


async def kill(client: GrpcClient, id: str = "web") -> None:
    await client.call(TASKS, "Kill", container_id=id, signal=9)
    await client.call(TASKS, "Wait", container_id=id)


async def test_the_life_of_a_task(client: GrpcClient, agent: Daemon, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = await make(client, "sh", "-c", "echo hello; exit 3", stdout=f"file://{out}")
    assert (made.container_id, await status(client)) == ("web", CREATED)
    assert (await client.call(TASKS, "Start", container_id="web")).pid == made.pid
    with trio.fail_after(DEADLINE):
        end = await client.call(TASKS, "Wait", container_id="web")
    assert end.exit_status == 3
    process = (await client.call(TASKS, "Get", container_id="web")).process
    assert (process.id, process.status, process.exit_status) == ("web", STOPPED, 3)
    assert process.exited_at == end.exited_at
    assert process.stdout == f"file://{out}"
    deleted = await client.call(TASKS, "Delete", container_id="web")
    assert (deleted.exit_status, deleted.pid, deleted.exited_at) == (3, made.pid, end.exited_at)
    assert out.read_text() == "hello\n"
    with refused(Code.NOT_FOUND, "web"):
        await client.call(TASKS, "Get", container_id="web")
    events = await trio.to_thread.run_sync(agent.get, f"/v1/{client.namespace}/events")
    topics = [one["topic"] for one in events["items"] if one["topic"].startswith("/tasks/")]
    assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]


async def test_what_the_state_forbids(client: GrpcClient) -> None:
    await make(client, "sleep", "1000")
    with refused(Code.ALREADY_EXISTS, "web"):
        await client.call(TASKS, "Create", container_id="web")
    await client.call(TASKS, "Start", container_id="web")
    with refused(Code.FAILED_PRECONDITION):
        await client.call(TASKS, "Start", container_id="web")
    with refused(Code.FAILED_PRECONDITION):
        await client.call(TASKS, "Delete", container_id="web")
    with refused(Code.FAILED_PRECONDITION, "task"):
        await client.call("containers.v1.Containers", "Delete", id="web")
    await kill(client)
    with refused(Code.NOT_FOUND):
        await client.call(TASKS, "Kill", container_id="web", signal=9)
    with refused(Code.FAILED_PRECONDITION):
        await client.call(TASKS, "Pause", container_id="web")
    with refused(Code.FAILED_PRECONDITION, "task"):
        await client.call("containers.v1.Containers", "Delete", id="web")
    assert (await client.call(TASKS, "Delete", container_id="web")).exit_status == 137
    await client.call("containers.v1.Containers", "Delete", id="web")


@pytest.mark.parametrize(
    "method",
    [
        "Create",
        "Start",
        "Delete",
        "Get",
        "Kill",
        "Pause",
        "Resume",
        "ListPids",
        "Wait",
        "CloseIO",
        "ResizePty",
    ],
)
async def test_an_unknown_container(client: GrpcClient, method: str) -> None:
    with refused(Code.NOT_FOUND, "nobody"):
        await client.call(TASKS, method, container_id="nobody")


async def test_execs(client: GrpcClient, tmp_path: Path) -> None:
    pid = (await make(client, "sleep", "1000")).pid
    process = {
        "args": ["sh", "-c", "echo inner; exit 7"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0},
    }
    asked = {"container_id": "web", "exec_id": "one", "spec": oci("Process", process)}
    await client.call(TASKS, "Start", container_id="web")
    await client.call(TASKS, "Exec", **asked, stdout=f"file://{tmp_path}/out")
    assert await status(client, exec_id="one") == CREATED
    with refused(Code.ALREADY_EXISTS, "one"):
        await client.call(TASKS, "Exec", **asked)
    inner = (await client.call(TASKS, "Start", container_id="web", exec_id="one")).pid
    assert inner not in {0, pid}
    end = await client.call(TASKS, "Wait", container_id="web", exec_id="one")
    assert (end.exit_status, await status(client, exec_id="one")) == (7, STOPPED)
    deleted = await client.call(TASKS, "DeleteProcess", container_id="web", exec_id="one")
    assert (deleted.id, deleted.pid, deleted.exit_status) == ("one", inner, 7)
    assert (tmp_path / "out").read_text() == "inner\n"
    for method in ("Get", "Start", "Wait", "Kill", "DeleteProcess"):
        with refused(Code.NOT_FOUND, "one"):
            await client.call(TASKS, method, container_id="web", exec_id="one")
    assert await status(client) == RUNNING


async def test_malformed_execs(client: GrpcClient) -> None:
    await make(client, "sleep", "1000")
    await client.call(TASKS, "Start", container_id="web")
    for exec_id, given in (
        ("", oci("Process", {"args": ["true"], "cwd": "/"})),
        ("a/b", oci("Process", {"args": ["true"], "cwd": "/"})),
        ("x", oci("Spec", {})),
        ("x", ANY()),
        ("x", oci("Process", "text")),
    ):
        with refused(Code.INVALID_ARGUMENT):
            await client.call(TASKS, "Exec", container_id="web", exec_id=exec_id, spec=given)


async def test_an_exec_that_is_deleted_before_its_start(client: GrpcClient) -> None:
    await make(client, "sleep", "1000")
    await client.call(TASKS, "Start", container_id="web")
    given = oci("Process", {"args": ["true"], "cwd": "/"})
    await client.call(TASKS, "Exec", container_id="web", exec_id="one", spec=given)
    async with trio.open_nursery() as nursery:
        ends: list[Any] = []

        async def wait() -> None:
            ends.append(await client.call(TASKS, "Wait", container_id="web", exec_id="one"))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.2)
        await client.call(TASKS, "DeleteProcess", container_id="web", exec_id="one")
    assert [end.exit_status for end in ends] == [255]


async def test_pids_pause_resume(client: GrpcClient) -> None:
    pid = (await make(client, "sleep", "1000")).pid
    await client.call(TASKS, "Start", container_id="web")
    given = oci("Process", {"args": ["sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"]})
    await client.call(TASKS, "Exec", container_id="web", exec_id="one", spec=given)
    inner = (await client.call(TASKS, "Start", container_id="web", exec_id="one")).pid
    found = {one.pid: one for one in (await client.call(TASKS, "ListPids", container_id="web")).processes}
    assert set(found) == {pid, inner}
    assert not found[pid].HasField("info")
    assert wire.unpack(found[inner].info).exec_id == "one"
    await client.call(TASKS, "Pause", container_id="web")
    assert await status(client) == PAUSED
    await client.call(TASKS, "Resume", container_id="web")
    assert await status(client) == RUNNING


async def test_list_and_metrics(client: GrpcClient) -> None:
    for name in ("one", "two"):
        await make(client, "sleep", "1000", id=name)
    await client.call(TASKS, "Start", container_id="one")
    listed = {one.id: one.status for one in (await client.call(TASKS, "List")).tasks}
    assert listed == {"one": RUNNING, "two": CREATED}

    async def measured(*filters: str) -> list[str]:
        return [one.id for one in (await client.call(TASKS, "Metrics", filters=filters)).metrics]

    assert await measured() == ["one", "two"]
    assert await measured("id==one") == ["one"]
    assert await measured(f"namespace=={client.namespace},id~=^t") == ["two"]
    assert await measured("id==three") == []
    sample = (await client.call(TASKS, "Metrics", filters=["id==one"])).metrics[0]
    assert sample.data.type_url == f"io.containerd.cgroups.{VERSION}.Metrics"
    figures = wire.unpack(sample.data)
    assert figures.pids.current == 1
    usage = figures.memory.usage.usage if VERSION == "v1" else figures.memory.usage
    assert usage > 0
    assert sample.timestamp.seconds > 1_700_000_000


async def test_update(client: GrpcClient) -> None:
    await make(client, "sleep", "1000")
    await client.call(TASKS, "Start", container_id="web")
    limits = oci("LinuxResources", {"pids": {"limit": 17}})
    await client.call(TASKS, "Update", container_id="web", resources=limits)
    sample = (await client.call(TASKS, "Metrics", filters=["id==web"])).metrics[0]
    assert wire.unpack(sample.data).pids.limit == 17
    with refused(Code.INVALID_ARGUMENT, "LinuxResources"):
        await client.call(TASKS, "Update", container_id="web", resources=oci("Process", {}))


async def test_without_stdin_and_terminal(client: GrpcClient) -> None:
    await make(client, "sleep", "1000")
    await client.call(TASKS, "Start", container_id="web")
    await client.call(TASKS, "CloseIO", container_id="web", stdin=True)
    await client.call(
        TASKS, "ResizePty", container_id="web", width=80, height=24
    )  # as containerd's: nothing to do


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ({"checkpoint": {"digest": "sha256:" + "0" * 64}}, Code.INVALID_ARGUMENT),
        (
            {"checkpoint": {"digest": "sha256:" + "0" * 64, "annotations": {"RestoreFromPath": "/etc"}}},
            Code.UNIMPLEMENTED,
        ),
        ({"runtime_path": "/usr/bin/containerd-shim"}, Code.UNIMPLEMENTED),
        ({"options": {"type_url": "runtimeoptions.v1.Options"}}, Code.UNIMPLEMENTED),
        (
            {"options": wire.any_of(wire.message("containerd.runc.v1.Options")(binary_name="none"))},
            Code.UNIMPLEMENTED,
        ),
        ({"options": {"type_url": "containerd.runc.v1.Options", "value": b"\xff"}}, Code.INVALID_ARGUMENT),
    ],
    ids=["checkpoint", "directory", "shim", "options", "binary", "malformed"],
)
async def test_what_no_task_is_made_with(client: GrpcClient, task: dict[str, Any], code: Code) -> None:
    with refused(code):
        await make(client, "true", **task)
    with refused(Code.NOT_FOUND):
        await client.call(TASKS, "Get", container_id="web")


async def test_a_runtime_that_is_not_here(client: GrpcClient) -> None:
    for name, given, code in (
        ("kata", {"runtime": {"name": "io.containerd.kata.v2"}, "spec": oci("Spec", {})}, Code.UNIMPLEMENTED),
        (
            "odd",
            {"runtime": {"name": "io.containerd.runc.v2"}, "spec": oci("Other", {})},
            Code.FAILED_PRECONDITION,
        ),
    ):
        await client.call("containers.v1.Containers", "Create", container={"id": name, **given})
        with refused(code):
            await client.call(TASKS, "Create", container_id=name)


def checkpoint_options(**fields: str) -> Any:
    return wire.any_of(wire.message("containerd.runc.v1.CheckpointOptions")(**fields))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({}, Code.NOT_FOUND),
        ({"parent_checkpoint": "sha256:" + "0" * 64}, Code.UNIMPLEMENTED),
        ({"options": {"type_url": "containerd.runc.v1.Options"}}, Code.INVALID_ARGUMENT),
        ({"options": checkpoint_options(parent_path="/x")}, Code.UNIMPLEMENTED),
        ({"options": checkpoint_options(image_path="x/../y")}, Code.INVALID_ARGUMENT),
        ({"options": checkpoint_options(cgroups_mode="hard")}, Code.INVALID_ARGUMENT),
    ],
    ids=["no container", "parent", "options", "earlier dump", "directory", "cgroups"],
)
async def test_checkpoints_that_cant_be(client: GrpcClient, request_: dict[str, Any], code: Code) -> None:
    with refused(code):
        await client.call(TASKS, "Checkpoint", container_id="web", **request_)
