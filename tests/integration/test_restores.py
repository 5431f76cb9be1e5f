"""Tasks that are restored from a dump, as the tasks service has them: created first, restored by the start."""
# ruff: noqa: ASYNC110, ASYNC240 - tests look at files directly, and wait by looking again

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unimplemented
from tricorn.model.checkpoints import DUMP, DumpOptions
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.records import TaskStatus
from tricorn.model.stdio import NULL_STDIO, Stdio
from tricorn.ports import FilesystemMount
from tricorn_testing.client_agent import ClientAgent, client_agent, client_spec, closing_agent
from tricorn_testing.criu import criu_program, need_criu
from tricorn_testing.fifos import fifos

pytestmark = [pytest.mark.root, pytest.mark.integration]
COUNTER = ("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")


@pytest.fixture
async def client(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ClientAgent]:
    need_criu()
    monkeypatch.setenv("PATH", f"{os.path.dirname(criu_program())}:{os.environ['PATH']}")
    async with closing_agent(short_path, "runc") as opened:
        yield opened


async def dumped(client: ClientAgent, name: str) -> Descriptor:
    taken = await client.agent.services.dumper.take(client.namespace, name, DumpOptions(leave_running=False))
    assert taken.dump is not None
    return taken.dump


async def prepare(client: ClientAgent, name: str, dump: Descriptor, stdio: Stdio = NULL_STDIO) -> None:
    """Make a task that is to be restored."""
    await client.processes.create(
        client.namespace, name, stdio=stdio, runtime=client.runtime, dump=dump,
        rootfs=[FilesystemMount("bind", str(client.rootfs), ("rbind", "ro"))],
    )  # fmt: skip


async def test_a_task_is_restored_by_its_start_with_its_clients_streams(client, short_path):
    ns, processes = client.namespace, client.processes
    with fifos(short_path) as io:
        io.open()
        await client.run(*COUNTER, stdio=io.stdio, name="first")
        await io.read_until(b"\n3\n")
        dump = await dumped(client, "first")
        before = await io.read_all()
    last = int(before.split()[-1]) if before.split() else 3
    await client.record("sh", name="second")
    with fifos(short_path) as io:
        io.open()
        await prepare(client, "second", dump, io.stdio)
        view = await processes.get(ns, "second")
        assert (view.status, view.pid) == (TaskStatus.CREATED, 0)
        ends: list[int] = []

        async def wait() -> None:
            ends.append((await processes.wait(ns, "second")).code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)  # clients wait before they start
            await trio.testing.wait_all_tasks_blocked(0.01)
            pid = await processes.start(ns, "second")
            assert (await processes.get(ns, "second")).pid == pid
            assert not os.path.exists(short_path / "root/restores/test/second")
            await io.read_until(f"{last + 3}\n".encode())
            await processes.kill(ns, "second", signal.SIGKILL)
        assert ends == [137]
    await processes.delete(ns, "second")
    topics = [topic for topic, event in await client.events() if event.get("container_id") == "second"]
    assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]


async def test_a_task_that_waits_to_be_restored_outlives_the_agent_and_can_be_deleted(
    short_path, monkeypatch
):
    need_criu()
    monkeypatch.setenv("PATH", f"{os.path.dirname(criu_program())}:{os.environ['PATH']}")
    async with client_agent(short_path, "runc") as client:
        await client.run("sleep", "1000", name="first")
        dump = await dumped(client, "first")
        for name in ("second", "third"):
            await client.record("sh", name=name)
            await prepare(client, name, dump)
    async with closing_agent(short_path, "runc") as client:
        assert (await client.processes.get(client.namespace, "second")).status is TaskStatus.CREATED
        await client.processes.start(client.namespace, "second")
        assert (await client.processes.get(client.namespace, "second")).status is TaskStatus.RUNNING

        async def wait() -> None:
            with pytest.raises(NotFound):
                await client.processes.wait(client.namespace, "third")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await client.processes.delete(client.namespace, "third")
        with trio.fail_after(30):  # it goes behind the answer
            while os.path.exists(short_path / "root/restores/test/third"):
                await trio.sleep(0.01)


async def test_dumps_that_no_task_is_made_from(client):
    await client.run("sleep", "1000", name="first")
    dump = await dumped(client, "first")
    stricter = client_spec("sh")
    stricter["process"]["capabilities"]["bounding"] = ["CAP_KILL"]
    await client.record_of(stricter, "second")
    with pytest.raises(PermissionDenied):
        await prepare(client, "second", dump)
    with pytest.raises(NotFound):
        await prepare(client, "second", Descriptor(DUMP, Digest("sha256:" + "0" * 64), 1))
    with pytest.raises(InvalidArgument):
        await prepare(client, "second", Descriptor("application/x-tar", dump.digest, dump.size))
    with pytest.raises(NotFound):
        await client.processes.get(client.namespace, "second")
    await client.agent.services.processes.delete(client.namespace, "first")
    with pytest.raises(FailedPrecondition):
        await client.agent.services.dumper.take(client.namespace, "first", DumpOptions())


async def test_a_runtime_that_cant_dump_says_which_can(client):
    runtime = client.agent.workers.runtime
    able = {name for name, info in (await runtime.capabilities()).items() if "criu" in info.features}
    for name in await runtime.capabilities():
        if name not in able:
            with pytest.raises(Unimplemented) as caught:
                await runtime.can_checkpoint(name)
            assert "--runtime runc" in caught.value.hint
    assert await client.agent.services.checkpoints.runtime("crun") in able
