"""What the death of an agent means to processes that clients started, and to their stdio: nothing."""

# ruff: noqa: ASYNC240 - tests look at files directly

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import trio

from tricorn.errors import NotFound
from tricorn.model.records import TaskStatus
from tricorn.model.stdio import NULL_STDIO
from tricorn_testing.client_agent import client_agent, closing_agent, doomed_agent, other_agent
from tricorn_testing.fifos import fifos
from tricorn_testing.paths import found

pytestmark = [pytest.mark.integration, pytest.mark.root]


@pytest.fixture(params=["crun", "runc"])
def runtime(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} isn't installed")
    return request.param


async def end(agent: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the agent, in the middle of whatever it does."""
    agent.kill()
    await trio.to_thread.run_sync(agent.wait)


async def test_streams_go_on_with_the_next_agent(runtime: str, short_path: Path) -> None:
    script = "echo first; cat; echo last; echo err >&2; exit 9"
    with fifos(short_path) as io:
        io.open()
        with other_agent(short_path, runtime, "c1", io.stdio, "sh", "-c", script) as agent:
            await io.read_until(b"first\n")
            await io.write(b"one\n")
            await io.read_until(b"one\n")
            await end(agent)
        await io.write(b"while nobody listens\n")
        async with closing_agent(short_path, runtime) as client:
            assert (await client.processes.get("test", "c1")).status is TaskStatus.RUNNING
            assert await io.read_until(b"\n") == b"while nobody listens\n"
            await client.processes.close_io("test", "c1", "", stdin=True)
            io.close("stdin")
            assert (await io.read_all(), await io.read_all("stderr")) == (b"last\n", b"err\n")
            assert await client.wait("c1") == 9
            assert (await client.processes.delete("test", "c1")).exit_code == 9


async def test_no_byte_is_lost_or_doubled_while_agents_die(runtime: str, short_path: Path) -> None:
    with fifos(short_path) as io:
        io.open()
        received = bytearray()
        with other_agent(short_path, runtime, "c1", io.stdio, "sh", "-c", "seq 1 200000; read x") as agent:
            while len(received) < 300_000:
                received += await io.read()
            await end(agent)
        async with closing_agent(short_path, runtime) as client:
            while not received.endswith(b"\n200000\n"):
                received += await io.read()
            await io.write(b"go\n")
            assert await client.wait("c1") == 0
    assert received.split() == [b"%d" % number for number in range(1, 200001)]


async def test_a_terminal_goes_on_with_the_next_agent(runtime: str, short_path: Path) -> None:
    script = "stty -echo; echo up; while read x; do echo got $x; [ $x = end ] && exit 5; done"
    with fifos(short_path, terminal=True) as io:
        io.open()
        with other_agent(short_path, runtime, "c1", io.stdio, "sh", "-c", script) as agent:
            await io.read_until(b"up\r\n")
            await end(agent)
        async with closing_agent(short_path, runtime) as client:
            await client.processes.resize("test", "c1", "", 70, 20)
            await io.write(b"one\n")
            await io.read_until(b"got one\r\n")
            await io.write(b"end\n")
            assert await io.read_all() == b"got end\r\n"
            assert await client.wait("c1") == 5


async def test_an_exit_without_an_agent_is_told_by_the_next(runtime: str, short_path: Path) -> None:
    with fifos(short_path) as io:
        io.open()
        with other_agent(short_path, runtime, "c1", io.stdio, "sh", "-c", "read x; exit 7") as agent:
            await io.write(b"go\n")
            await end(agent)
        async with closing_agent(short_path, runtime) as client:
            assert await client.wait("c1") == 7
            assert [topic for topic, _ in await client.events()].count("/tasks/exit") == 1


async def test_an_exec_on_a_terminal_goes_on_with_the_next_agent(runtime: str, short_path: Path) -> None:
    script = "stty -echo; echo up; while read x; do echo got $x; [ $x = end ] && exit 5; done"
    with fifos(short_path, terminal=True) as io:
        io.open()
        exec_args = ["sh", "-c", script]
        with other_agent(
            short_path, runtime, "c1", NULL_STDIO, "sleep", "1000", exec_args=exec_args, exec_stdio=io.stdio
        ) as agent:
            await io.read_until(b"up\r\n")
            await end(agent)
        async with closing_agent(short_path, runtime) as client:
            assert (await client.processes.get("test", "c1", "e1")).status is TaskStatus.RUNNING
            await client.processes.resize("test", "c1", "e1", 70, 20)
            await io.write(b"one\n")
            await io.read_until(b"got one\r\n")
            await io.write(b"end\n")
            assert await io.read_all() == b"got end\r\n"
            assert await client.wait("c1", "e1") == 5
            assert (await client.processes.delete("test", "c1", "e1")).exit_code == 5
            assert len(await client.processes.pids("test", "c1")) == 1
            assert await client.exec("c1", "e1", "true")


async def test_the_end_of_an_exec_is_told_once_over_agents(short_path: Path) -> None:
    """By the agent that was there, or by the next one; its code can be asked for until it is deleted."""
    runtime = "runc"
    with other_agent(
        short_path, runtime, "c1", NULL_STDIO, "sleep", "1000", exec_args=["sh", "-c", "sleep 0.5; exit 6"]
    ) as agent:
        await end(agent)
    for _ in range(2):
        async with client_agent(short_path, runtime) as client:
            assert await client.wait("c1", "e1") == 6
            with trio.fail_after(30):
                while True:
                    ends = [event for topic, event in await client.events() if topic == "/tasks/exit"]
                    if ends:
                        break
                    await trio.sleep(0.01)
            assert [(event["id"], event["exit_status"]) for event in ends] == [("e1", 6)]
    async with closing_agent(short_path, runtime) as client:
        await client.processes.delete("test", "c1", "e1")
        with pytest.raises(NotFound):
            await client.processes.get("test", "c1", "e1")


# On the way of a client's task; db.committed comes before each of the other steps is done with
STEPS = [
    "start.intent", "start.mounted", "monitor.spawned", "container.created", "start.created",
    "start.recorded", "exit.seen", "delete.recorded", "delete.runtime", "delete.bundle",
]  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize("armed", STEPS)
async def test_a_kill_at_any_step_leaves_nothing_half_made(armed: str, short_path: Path) -> None:
    with fifos(short_path) as io:
        io.open()
        script = ("sh", "-c", "exit 3")
        code = await trio.to_thread.run_sync(doomed_agent, short_path, "runc", "c1", armed, io.stdio, *script)
        assert code == -signal.SIGKILL, f"nothing on the way passes {armed}"
        async with closing_agent(short_path, "runc") as client:
            for view in await client.processes.list("test"):
                if view.status is TaskStatus.CREATED:
                    await client.processes.start("test", "c1")
                assert await client.wait("c1") == 3
                await client.processes.delete("test", "c1")
            if await client.agent.services.container_records.list("test"):
                await client.task("c1", io.stdio)
                await client.processes.start("test", "c1")
                assert await client.wait("c1") == 3
                await client.processes.delete("test", "c1")
                await client.agent.services.container_records.delete("test", "c1")
            intents = await client.agent.workers.db.read(lambda tx: tx.intents.list_all())
            assert [intent.kind for intent in intents if intent.kind != "delete-task"] == []
    assert not found(short_path, "state/bundles/*/*")
    assert f"{short_path}/state/bundles" not in Path("/proc/self/mountinfo").read_text()
