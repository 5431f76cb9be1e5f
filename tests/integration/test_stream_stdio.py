"""Tasks and execs whose stdio are streams of the streaming service, as containerd's clients open them."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from attrs import define, field

from tricorn import wire
from tricorn.grpc import ClientCall, Code, RpcError
from tricorn_testing.daemon import Daemon
from tricorn_testing.grpc_client import DEADLINE, GrpcClient, grpc_client, refused

pytestmark = [pytest.mark.root, pytest.mark.integration]
TASKS = "tasks.v1.Tasks"
STREAM = "/containerd.services.streaming.v1.Streaming/Stream"
OCI = "types.containerd.io/opencontainers/runtime-spec/1"
ANY = wire.message("google.protobuf.Any")
types = wire.package("containerd.types.transfer")
WINDOW = 64 * 1024  # what containerd's clients allow at a time


@define
class Stream:
    """One end of a stream of bytes, as containerd's transfer library keeps it."""

    call: ClientCall
    allowed: int = 0
    received: bytearray = field(factory=bytearray)

    async def write(self, data: bytes) -> None:
        while data:
            while self.allowed == 0:
                self.allowed += wire.unpack(await self.call.receive()).update
            piece, data = data[: self.allowed], data[self.allowed :]
            self.allowed -= len(piece)
            await self.call.send(wire.any_of(types.Data(data=piece)))

    async def read(self) -> bytes:
        """Return the next bytes, none at the end; RpcError when the stream broke."""
        if self.allowed < WINDOW:
            with suppress(RpcError):  # the agent may have said all
                await self.call.send(wire.any_of(types.WindowUpdate(update=WINDOW)))
            self.allowed += WINDOW
        message = await self.call.receive()
        if message is None:
            await self.call.finish()
            return b""
        data = bytes(wire.unpack(message).data)
        self.allowed -= len(data)
        self.received += data
        return data

    async def read_until(self, text: bytes) -> None:
        with trio.fail_after(DEADLINE):
            while text not in self.received:
                assert await self.read(), bytes(self.received)

    async def read_all(self) -> bytes:
        with trio.fail_after(DEADLINE):
            while await self.read():
                pass
        return bytes(self.received)

    def end(self) -> None:
        self.call.close_send()


@asynccontextmanager
async def opened(client: GrpcClient, *names: str) -> AsyncIterator[list[Stream]]:
    init = wire.message("containerd.services.streaming.v1.StreamInit")
    async with AsyncExitStack() as stack:
        streams = []
        for name in names:
            metadata = [("containerd-namespace", client.namespace)]
            call = await stack.enter_async_context(client.channel.stream(STREAM, ANY, metadata))
            await call.send(wire.any_of(init(id=name)))
            assert await call.receive() is not None
            streams.append(Stream(call))
        yield streams


def oci(kind: str, value: Any) -> Any:
    return ANY(type_url=f"{OCI}/{kind}", value=json.dumps(value).encode())


async def make(client: GrpcClient, *args: str, **task: Any) -> None:
    """Make a container and its task, which is not started yet."""
    listed = await client.stream(
        "snapshots.v1.Snapshots", "List", snapshotter="overlayfs", filters=["kind==committed"]
    )
    asked = {
        "snapshotter": "overlayfs", "key": "web", "parent": listed[0].info[0].name,
        "labels": {"containerd.io/gc.root": "t"},  # there is no container yet that keeps it, and no lease
    }  # fmt: skip
    mounts = (await client.call("snapshots.v1.Snapshots", "Prepare", **asked)).mounts
    spec = {
        "ociVersion": "1.1.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": list(args), "env": ["PATH=/bin"], "cwd": "/",
            "terminal": bool(task.get("terminal")),
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
        ],
        "linux": {
            "cgroupsPath": f"/{client.namespace}/web",
            "namespaces": [{"type": kind} for kind in ("pid", "mount")],
        },
    }  # fmt: skip
    container = {
        "id": "web", "snapshotter": "overlayfs", "snapshot_key": "web", "image": "a",
        "runtime": {"name": "io.containerd.runc.v2"}, "spec": oci("Spec", spec),
    }  # fmt: skip
    await client.call("containers.v1.Containers", "Create", container=container)
    await client.call(TASKS, "Create", container_id="web", rootfs=mounts, **task)


async def exit_status(client: GrpcClient, **of: str) -> int:
    with trio.fail_after(DEADLINE):
        return int((await client.call(TASKS, "Wait", container_id="web", **of)).exit_status)


async def test_three_streams_as_a_client_of_sandboxes_names_them(client: GrpcClient, agent: Daemon) -> None:
    address = f"grpc+unix://{agent.socket_path}?streaming_id="
    async with opened(client, "in", "out", "err") as (stdin, stdout, stderr):
        io = {"stdin": address + "in", "stdout": address + "out", "stderr": address + "err"}
        await make(client, "sh", "-c", "cat; echo no >&2; exit 4", **io)
        await client.call(TASKS, "Start", container_id="web")
        sent = os.urandom(300_000)

        async def feed() -> None:
            await stdin.write(sent)
            stdin.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            assert await stdout.read_all() == sent
            assert await stderr.read_all() == b"no\n"
        assert await exit_status(client) == 4
    process = (await client.call(TASKS, "Get", container_id="web")).process
    assert (process.stdin, process.stdout) == (io["stdin"], io["stdout"])
    assert (await client.call(TASKS, "Delete", container_id="web")).exit_status == 4


async def test_a_terminal(client: GrpcClient) -> None:
    async with opened(client, "in", "out") as (stdin, stdout):
        io = {"stdin": "streaming://in", "stdout": "streaming://out", "terminal": True}
        await make(client, "sh", "-c", "echo up; read x; echo got $x; stty size; exit 5", **io)
        await client.call(TASKS, "Start", container_id="web")
        await client.call(TASKS, "ResizePty", container_id="web", width=71, height=23)
        await stdout.read_until(b"up\r\n")
        await stdin.write(b"word\n")
        assert b"got word\r\n23 71\r\n" in await stdout.read_all()
        assert await exit_status(client) == 5


async def test_an_exec_whose_stdin_is_closed_by_close_io(client: GrpcClient) -> None:
    await make(client, "sleep", "1000")
    await client.call(TASKS, "Start", container_id="web")
    process = {"args": ["sh", "-c", "cat; exit 6"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0}}
    async with opened(client, "in", "out") as (stdin, stdout):
        io = {"stdin": "streaming://x?id=in", "stdout": "streaming://out"}
        spec = oci("Process", process)
        await client.call(TASKS, "Exec", container_id="web", exec_id="e", spec=spec, **io)
        await client.call(TASKS, "Start", container_id="web", exec_id="e")
        await stdin.write(b"one\n")
        await stdout.read_until(b"one\n")
        await client.call(TASKS, "CloseIO", container_id="web", exec_id="e", stdin=True)
        await stdin.write(b"two\n")  # what is written before the stream ends comes through
        stdin.end()
        assert await stdout.read_all() == b"one\ntwo\n"
        assert await exit_status(client, exec_id="e") == 6


async def test_a_client_that_does_not_read_makes_the_process_wait(client: GrpcClient) -> None:
    async with opened(client, "out") as (stdout,):
        await make(client, "sh", "-c", "yes | head -c 3000000; echo end >&2", stdout="streaming://out")
        await client.call(TASKS, "Start", container_id="web")
        await stdout.read_until(b"y\n")
        status = (await client.call(TASKS, "Get", container_id="web")).process.status
        assert status == 2  # it runs: only the window and some pipes are full
        assert len(await stdout.read_all()) == 3_000_000
        assert await exit_status(client) == 0


async def test_output_goes_on_without_its_client_and_to_one_that_comes_back(client: GrpcClient) -> None:
    script = "echo first; read a; yes | head -c 3000000; echo lost; : >/mark; read b; echo again $b; exit 7"
    async with opened(client, "in") as (stdin,):
        async with opened(client, "out") as (stdout,):
            await make(client, "sh", "-c", script, stdin="streaming://in", stdout="streaming://out")
            await client.call(TASKS, "Start", container_id="web")
            await stdout.read_until(b"first\n")
        await gone(client, "out")
        await stdin.write(b"\n")
        pid = (await client.call(TASKS, "Get", container_id="web")).process.pid
        await exists(f"/proc/{pid}/root/mark")
        async with opened(client, "out") as (stdout,):
            await stdin.write(b"word\n")
            output = await stdout.read_all()
            assert output.endswith(b"again word\n")
            assert len(output) < 1_000_000  # at most what the pipes still held
            assert await exit_status(client) == 7


async def test_an_agents_restart_ends_the_streams_and_not_the_process(
    client: GrpcClient, agent: Daemon
) -> None:
    script = "echo up; while read x; do echo got $x; [ $x = end ] && exit 8; done; exit 1"
    async with opened(client, "in", "out") as (stdin, stdout):
        await make(client, "sh", "-c", script, stdin="streaming://in", stdout="streaming://out")
        await client.call(TASKS, "Start", container_id="web")
        await stdin.write(b"one\n")
        await stdout.read_until(b"got one\n")
        await trio.to_thread.run_sync(agent.kill)
        with pytest.raises(RpcError):
            await stdout.read_all()
    await trio.to_thread.run_sync(agent.start)
    async with grpc_client(agent, client.namespace) as later, opened(later, "in", "out") as (stdin, stdout):
        assert (await later.call(TASKS, "Get", container_id="web")).process.status == 2
        await stdin.write(b"end\n")
        assert await stdout.read_all() == b"got end\n"
        assert await exit_status(later) == 8


async def test_what_is_refused(client: GrpcClient) -> None:
    async with opened(client, "one") as (stdout,):
        with refused(Code.NOT_FOUND, "missing"):
            await make(client, "true", stdout="streaming://missing")
        with refused(Code.INVALID_ARGUMENT, "twice"):
            await client.call(
                TASKS, "Create", container_id="web", stdout="streaming://one", stderr="streaming://one"
            )
        with refused(Code.INVALID_ARGUMENT, "no stream"):
            await client.call(TASKS, "Create", container_id="web", stdout="ttrpc+unix:///run/x.sock")
        del stdout


async def gone(client: GrpcClient, name: str) -> None:
    """Wait until the agent has noticed that a stream's client went away: its id is free then."""
    with trio.fail_after(DEADLINE):
        while True:
            try:
                async with opened(client, name):
                    return
            except RpcError as error:
                assert error.status.code is Code.ALREADY_EXISTS  # noqa: PT017 - asked until it isn't
            await trio.sleep(0.02)


async def exists(path: str) -> None:
    with trio.fail_after(DEADLINE):
        while not os.path.exists(path):  # noqa: ASYNC110, ASYNC240 - tests look at files directly
            await trio.sleep(0.02)
