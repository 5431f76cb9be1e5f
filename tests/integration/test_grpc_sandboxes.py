"""containerd's sandbox controller over gRPC: states, codes, namespaces, and what a restart means to it."""

# ruff: noqa: ASYNC240 - tests look at files directly

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tricorn import wire
from tricorn.grpc import Code
from tricorn_testing.daemon import Daemon
from tricorn_testing.grpc_client import DEADLINE, GrpcClient, grpc_client, refused
from tricorn_testing.paths import found
from tricorn_testing.waiting import eventually_in_trio

pytestmark = [pytest.mark.root, pytest.mark.integration]
CONTROLLER, STORE = "sandbox.v1.Controller", "sandbox.v1.Store"
SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
ANY = wire.message("google.protobuf.Any")
VERSION = "v1" if os.path.isdir("/sys/fs/cgroup/memory") else "v2"


@pytest.fixture
async def client(agent: Daemon, agents_namespace: str) -> AsyncIterator[GrpcClient]:
    async with grpc_client(agent, agents_namespace) as made:
        yield made


def record(id: str = "pod", runtime: str = "", **spec: Any) -> dict[str, Any]:
    """A sandbox's record; `spec` is its OCI spec."""
    options = wire.any_of(wire.message("containerd.runc.v1.Options")(binary_name=runtime))
    return {
        "sandbox_id": id,
        "runtime": {"name": "io.containerd.runc.v2", **({"options": options} if runtime else {})},
        "spec": ANY(type_url=SPEC, value=json.dumps(spec).encode()),
    }


async def make(client: GrpcClient, id: str = "pod", *, of: dict[str, Any] | None = None, **more: Any) -> None:
    await client.call(CONTROLLER, "Create", sandbox_id=id, sandbox=of or record(id), sandboxer="shim", **more)


async def start(client: GrpcClient, id: str = "pod") -> int:
    return int((await client.call(CONTROLLER, "Start", sandbox_id=id, sandboxer="shim")).pid)


async def status(client: GrpcClient, id: str = "pod") -> Any:
    return await client.call(CONTROLLER, "Status", sandbox_id=id, verbose=True)


async def shut_down(client: GrpcClient, id: str = "pod") -> None:
    with trio.fail_after(DEADLINE):
        await client.call(CONTROLLER, "Shutdown", sandbox_id=id)


def namespace_of(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


async def topics(client: GrpcClient, agent: Daemon) -> list[str]:
    events = await trio.to_thread.run_sync(agent.get, f"/v1/{client.namespace}/events")
    return [one["topic"] for one in events["items"]]


@pytest.mark.parametrize("runtime", ["crun", "runc"])
async def test_the_life_of_a_sandbox(client: GrpcClient, agent: Daemon, runtime: str) -> None:
    await make(client, of=record(runtime=runtime, hostname="web"))
    before = await status(client)
    assert (before.state, before.pid) == ("SANDBOX_CREATED", 0)
    platform = (await client.call(CONTROLLER, "Platform", sandbox_id="pod")).platform
    assert platform.os == "linux"
    pid = await start(client)
    for kind in ("net", "ipc", "uts", "pid", "mnt"):
        assert namespace_of(pid, kind) != namespace_of("self", kind)
    await eventually_in_trio(lambda: os.readlink(f"/proc/{pid}/exe") == "/pause")
    running = await status(client)
    assert (running.state, running.pid) == ("SANDBOX_READY", pid)
    told = json.loads(running.info["info"])
    assert told["namespaces"]["network"] == f"/proc/{pid}/ns/net"
    assert told["runtimeType"] == runtime
    metric = (await client.call(CONTROLLER, "Metrics", sandbox_id="pod")).metrics
    assert (metric.id, metric.data.type_url) == ("pod", f"io.containerd.cgroups.{VERSION}.Metrics")
    async with trio.open_nursery() as nursery:
        ends: list[Any] = []

        async def wait() -> None:
            ends.append(await client.call(CONTROLLER, "Wait", sandbox_id="pod"))

        nursery.start_soon(wait)
        await client.call(CONTROLLER, "Stop", sandbox_id="pod", timeout_secs=5)
    assert ends[0].exit_status == 0
    after = await status(client)
    assert (after.state, after.pid, after.exited_at) == ("SANDBOX_NOTREADY", 0, ends[0].exited_at)
    await shut_down(client)
    assert (await status(client)).state == ""
    assert not found(agent.state / "sandboxes", "*/*")
    seen = [topic for topic in await topics(client, agent) if topic.startswith("/sandboxes/")]
    assert seen == ["/sandboxes/create", "/sandboxes/start", "/sandboxes/exit"]


async def test_one_that_is_killed_has_ended(client: GrpcClient) -> None:
    await make(client)
    os.kill(await start(client), signal.SIGKILL)
    with trio.fail_after(DEADLINE):
        assert (await client.call(CONTROLLER, "Wait", sandbox_id="pod")).exit_status == 137
    with refused(Code.FAILED_PRECONDITION, "exited"):
        await start(client)
    await shut_down(client)


async def test_namespaces_as_its_spec_says(client: GrpcClient) -> None:
    await make(client, "first")
    first = await start(client, "first")
    await make(client, "second", netns_path=f"/proc/{first}/ns/net")
    second = await start(client, "second")
    assert namespace_of(second, "net") == namespace_of(first, "net")
    assert namespace_of(second, "ipc") != namespace_of(first, "ipc")
    linux = {"namespaces": [{"type": "uts"}], "sysctl": {}}
    await make(client, "third", of=record("third", linux=linux))
    third = await start(client, "third")
    assert namespace_of(third, "net") == namespace_of("self", "net")
    assert namespace_of(third, "uts") != namespace_of("self", "uts")
    for name in ("first", "second", "third"):
        await shut_down(client, name)


@pytest.mark.parametrize("runtime", ["crun", "runc"])
async def test_a_user_namespace(client: GrpcClient, agent: Daemon, runtime: str) -> None:
    agent.directory.chmod(0o711)  # the mapped root has to pass
    mapping = [{"containerID": 0, "hostID": 100_000, "size": 65536}]
    kinds = ("user", "network", "ipc", "uts")
    linux = {"namespaces": [{"type": kind} for kind in kinds], "uidMappings": mapping, "gidMappings": mapping}
    await make(client, of=record(runtime=runtime, linux=linux))
    pid = await start(client)
    assert namespace_of(pid, "user") != namespace_of("self", "user")
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    assert os.stat(f"/proc/{pid}").st_uid in {0, 165_535}  # nobody's
    await shut_down(client)


async def test_limits_follow_the_record(client: GrpcClient, agent: Daemon) -> None:
    group = f"/{client.namespace}/sandbox"
    await make(client, of=record(linux={"cgroupsPath": group, "resources": {"pids": {"limit": 50}}}))
    await start(client)
    (limit,) = [*Path("/sys/fs/cgroup").glob(f"pids{group}/pids.max"), *Path("/sys/fs/cgroup").glob(f"{group[1:]}/pids.max")]  # fmt: skip
    assert limit.read_text() == "50\n"
    wanted = record(linux={"resources": {"pids": {"limit": 60}}})
    await client.call(CONTROLLER, "Update", sandbox_id="pod", sandbox=wanted, fields=["labels"])
    assert limit.read_text() == "50\n"
    await client.call(CONTROLLER, "Update", sandbox_id="pod", sandbox=wanted, fields=["spec"])
    assert limit.read_text() == "60\n"
    await shut_down(client)
    assert not limit.exists()


async def test_codes(client: GrpcClient) -> None:
    for method in ("Platform", "Wait", "Metrics", "Shutdown", "Start"):
        with refused(Code.NOT_FOUND, "pod"):
            await client.call(CONTROLLER, method, sandbox_id="pod")
    with refused(Code.NOT_FOUND):
        await client.call(CONTROLLER, "Update", sandbox_id="pod", sandbox=record())
    await client.call(CONTROLLER, "Stop", sandbox_id="pod")  # as containerd: nothing to stop
    with refused(Code.NOT_FOUND, "controller"):
        await client.call(CONTROLLER, "Status", sandbox_id="pod", sandboxer="kuasar")
    with refused(Code.INVALID_ARGUMENT):
        await client.call(CONTROLLER, "Status")
    with refused(Code.INVALID_ARGUMENT):
        await client.call(CONTROLLER, "Create", sandbox_id="pod")
    with refused(Code.INVALID_ARGUMENT, "absolute"):
        await make(client, netns_path="net")
    with refused(Code.UNIMPLEMENTED, "rootfs"):
        await make(client, rootfs=[{"type": "bind", "source": "/tmp"}])
    with refused(Code.UNIMPLEMENTED, "OCI spec"):
        await make(client, options=ANY(type_url="runtime.v1.PodSandboxConfig"))
    await make(client)
    with refused(Code.ALREADY_EXISTS):
        await make(client)
    with refused(Code.FAILED_PRECONDITION, "not running"):
        await client.call(CONTROLLER, "Metrics", sandbox_id="pod")
    await client.call(STORE, "Create", sandbox=record())
    await client.call(STORE, "Delete", sandbox_id="pod")
    with refused(Code.FAILED_PRECONDITION, "sandbox_instances"):
        await client.call("namespaces.v1.Namespaces", "Delete", name=client.namespace)
    await shut_down(client)


async def test_one_that_cannot_be_started_is_gone(client: GrpcClient, agent: Daemon) -> None:
    await make(client, netns_path="/nonexistent/net")
    with refused(Code.FAILED_PRECONDITION):
        await start(client)
    assert (await status(client)).state == ""
    assert not found(agent.state / "sandboxes", "*/*")


async def test_sandboxes_outlive_the_agent(client: GrpcClient, agent: Daemon) -> None:
    for name in ("made", "lives", "dies"):
        await make(client, name)
    lives, dies = await start(client, "lives"), await start(client, "dies")
    await trio.to_thread.run_sync(agent.kill)
    os.kill(dies, signal.SIGKILL)
    await trio.to_thread.run_sync(agent.start)
    async with grpc_client(agent, client.namespace) as later:
        found = await status(later, "lives")
        assert (found.state, found.pid) == ("SANDBOX_READY", lives)
        with trio.fail_after(DEADLINE):
            assert (await later.call(CONTROLLER, "Wait", sandbox_id="dies")).exit_status == 137
        assert (await status(later, "made")).state == "SANDBOX_CREATED"
        assert await start(later, "made") > 0
        for name in ("made", "lives", "dies"):
            await shut_down(later, name)
    assert not os.path.exists(f"/proc/{lives}")


# In an order in which the removal of what one left doesn't pass the next
STEPS = ["sandbox.ended", "sandbox.running"]


@pytest.mark.faults
async def test_a_kill_at_any_step_leaves_nothing_half_made(agent: Daemon) -> None:
    await trio.to_thread.run_sync(agent.terminate)
    for step, next_step in itertools.pairwise(["", *STEPS, ""]):
        armed = f"{next_step}=kill" if next_step else ""
        await trio.to_thread.run_sync(partial(agent.start, TRICORN_FAILPOINTS=armed))
        async with grpc_client(agent, f"{agent.directory.name}-steps") as client:
            if step:
                await cleared_after(client, agent, step)
            if next_step:
                await make(client, next_step)
                with refused(Code.UNAVAILABLE):
                    await start(client, next_step)
                    await shut_down(client, next_step)
                await trio.to_thread.run_sync(agent.wait_exit)


async def cleared_after(client: GrpcClient, agent: Daemon, step: str) -> None:
    """Whatever the kill left of a sandbox is in order, or gone, and can be removed."""
    left = [path.name for path in found(agent.state / "sandboxes", "*/*")]
    state = (await status(client, step)).state
    assert state in {"SANDBOX_CREATED", "SANDBOX_READY", "SANDBOX_NOTREADY"}
    assert state != "SANDBOX_CREATED" or left == []
    await shut_down(client, step)
    assert not found(agent.state / "sandboxes", "*/*")
