"""Execs that go on without a client: over the end of a connection, and of the agent."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import pytest
import trio

from tricorn.client import Client
from tricorn.client.session import Session
from tricorn.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tricorn.model.execs import ExecStart
from tricorn.model.records import TaskStatus
from tricorn_testing.agentclient import ApiError
from tricorn_testing.daemon import Daemon
from tricorn_testing.paths import found
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.root]
ECHO = "stty -echo; echo up; while read x; do echo got $x; [ $x = end ] && exit 5; done"
NS = "kept"
WEB = f"/v1/{NS}/containers/web"
one_runtime = pytest.mark.parametrize("web", ["crun"], indirect=True)


@pytest.fixture(scope="module", params=["crun", "runc"])
def web(request: pytest.FixtureRequest, agent: Daemon, busybox_reference: str) -> Iterator[Daemon]:
    """The agent, with a container `web` that runs, by either runtime."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} isn't installed")
    body = {
        "image": busybox_reference, "plain_http": True, "args": ["sleep", "1000"], "runtime": request.param,
        "stop_timeout": 0, "log_size": 1_000_000,
    }  # fmt: skip
    agent.put(WEB, body)
    yield agent
    agent.delete(WEB, force=True)
    eventually(lambda: not found(agent.root, f"containers/{NS}/*"))


@pytest.fixture
async def client(web: Daemon) -> AsyncIterator[Client]:
    async with Client(web.socket_path, namespace=NS) as made:
        yield made


async def read_until(session: Session, text: bytes) -> bytes:
    seen = b""
    with trio.fail_after(60):
        async for piece in session:
            seen += piece.data
            if text in seen:
                return seen
    raise AssertionError(f"it ended after {seen!r}")


async def kill_agent(agent: Daemon) -> None:
    await trio.to_thread.run_sync(agent.kill)
    await trio.to_thread.run_sync(agent.start)


# ---------------------------------------------------------------- over the agent's end
async def test_a_session_on_a_terminal_is_joined_again_after_the_agents_death(
    web: Daemon, client: Client
) -> None:
    view = await client.execs.start("web", ExecStart(("sh", "-c", ECHO), terminal=True, stdin=True))
    async with client.execs.attach("web", view.id, replay=True) as session:
        await session.resize(33, 77)
        assert await read_until(session, b"up\r\n") == b"up\r\n"  # its terminal echoes until then
        await session.send_stdin(b"one\n")
        assert await read_until(session, b"got one\r\n") == b"got one\r\n"
        await kill_agent(web)
    async with (
        client.execs.attach("web", view.id) as session,
        client.execs.attach("web", view.id, replay=True) as watcher,
    ):
        assert session.pid == 0  # not yet read
        await session.send_stdin(b"two\n")
        assert await read_until(session, b"got two\r\n") == b"got two\r\n"
        assert session.pid == view.pid
        assert await read_until(watcher, b"got two\r\n") == b"up\r\ngot one\r\ngot two\r\n"
        await watcher.send_stdin(b"end\n")
        for each in (session, watcher):
            assert (await each.wait()).exit_code == 5
    assert (await client.execs.get("web", view.id)).status is TaskStatus.STOPPED
    await client.execs.remove("web", view.id)


async def test_piped_stdin_stays_open_over_clients_and_agents(web: Daemon, client: Client) -> None:
    script = "cat; echo err >&2; exit 4"
    view = await client.execs.start("web", ExecStart(("sh", "-c", script), id="pipe", stdin=True))
    async with client.execs.attach("web", "pipe") as session:
        await session.send_stdin(b"first\n")
        await read_until(session, b"first\n")
    await kill_agent(web)
    async with client.execs.attach("web", "pipe") as session:
        await session.send_stdin(b"second\n")
        await read_until(session, b"second\n")
        await session.close_stdin()
        assert [tuple(piece) async for piece in session] == [("stderr", b"err\n")]
        assert session.exit is not None
        assert session.exit.exit_code == 4
    async with client.execs.logs("web", "pipe") as lines:
        assert [(line.stream, line.text) async for line in lines] == [
            ("stdout", "first"), ("stdout", "second"), ("stderr", "err"),
        ]  # fmt: skip
    assert (await client.execs.get("web", view.id)).exit_code == 4
    await client.execs.remove("web", "pipe")


@pytest.mark.faults
@one_runtime
def test_a_start_that_an_agent_dies_of(web: Daemon) -> None:
    """It is as if it had not been, or it runs and is found."""
    web.kill()
    start_fatally(web, "exec.launched", left=([], 0, 0, 0))
    start_fatally(web, "exec.started", left=([], 0, 0, 0))
    web.start()
    assert left_of_starts(web) == (["s"], 1, 1, 1)
    web.delete(f"{WEB}/execs/s", force=True)
    assert left_of_starts(web) == ([], 0, 0, 0)


def start_fatally(web: Daemon, armed: str, left: tuple[list[str], int, int, int]) -> None:
    """Have the next agent, which finds this left of the one before, die at a step of starting an exec."""
    web.start(TRICORN_FAILPOINTS=f"{armed}=kill")
    assert left_of_starts(web) == left
    with suppress(OSError, http.client.HTTPException):
        web.post(f"{WEB}/execs", {"args": ["sleep", "1234"], "id": "s"})
    assert web.wait_exit() == -signal.SIGKILL


def left_of_starts(web: Daemon) -> tuple[list[str], int, int, int]:
    """The execs that the agent knows, and how many processes, directories and logs there are of them."""
    names = [view["id"] for view in web.get(f"{WEB}/execs")["items"]]
    running = [each["args"] for each in web.get(f"{WEB}/processes")["items"]]
    directories = found(web.state, f"bundles/{NS}/web/exec/*")
    logs = found(web.root, f"containers/{NS}/web/execs/*")
    return names, running.count(["sleep", "1234"]), len(directories), len(logs)


@one_runtime
async def test_an_end_without_an_agent_is_told_by_the_next(web: Daemon, client: Client) -> None:
    view = await client.execs.start(
        "web", ExecStart(("sh", "-c", "read x; echo bye; sleep 1; exit 6"), stdin=True)
    )
    async with client.execs.attach("web", view.id) as session:
        await session.send_stdin(b"go\n")
        await read_until(session, b"bye\n")
        await trio.to_thread.run_sync(web.kill)
    await trio.to_thread.run_sync(eventually, lambda: not os.path.exists(f"/proc/{view.pid}"))
    await trio.to_thread.run_sync(web.start)
    assert (await client.execs.wait("web", view.id)).exit_code == 6
    async with client.execs.attach("web", view.id, replay=True) as session:
        assert b"".join([piece.data async for piece in session]) == b"bye\n"
        assert session.exit is not None
        assert session.exit.exit_code == 6
    ends = web.get(f"/v1/{NS}/events", filter='topic=="/tasks/exit"')["items"]
    assert [each["event"]["exit_status"] for each in ends if each["event"]["id"] == view.id] == [6]
    await client.execs.remove("web", view.id)


# ---------------------------------------------------------------- by the command line
def test_detached(web: Daemon) -> None:
    """Its output and exit code are there when it has long ended, and go with it."""
    started = web.cli(
        "-n", NS, "exec", "-d", "-e", "WHO=me", "web", "sh", "-c", "echo $WHO; echo e >&2; exit 7"
    )
    assert started.returncode == 0, started.stderr
    name = started.stdout.strip()
    assert web.cli("-n", NS, "execs", "wait", "web", name).stdout == "7\n"
    printed = web.cli("-n", NS, "logs", "--exec", name, "web")
    assert (printed.stdout, printed.stderr) == ("me\n", "e\n")
    joined = web.cli("-n", NS, "attach", "--exec", name, "--replay", "web")
    assert (joined.returncode, joined.stdout, joined.stderr) == (7, "me\n", "e\n")
    listed = web.cli("-n", NS, "execs", "ls", "web").stdout
    assert re.search(rf"^{name} +sh -c 'echo .* exited \(7\) ", listed, re.MULTILINE), listed
    assert found(web.root, f"containers/{NS}/web/execs/{name}/log")
    assert web.cli("-n", NS, "execs", "rm", "web", name).stdout == f"{name}\n"
    assert web.cli("-n", NS, "execs", "ls", "-q", "web").stdout == ""
    assert not found(web.root, f"containers/{NS}/web/execs/*")
    assert not found(web.state, f"bundles/{NS}/web/exec/*")


@one_runtime
def test_signalled_and_removed(web: Daemon) -> None:
    line = ["exec", "-d", "--exec-id", "loop", "web", "sleep", "1000"]
    assert web.cli("-n", NS, *line).stdout == "loop\n"
    again = web.cli("-n", NS, *line)
    assert (again.returncode, "has an exec loop already" in again.stderr) == (125, True)
    busy = web.cli("-n", NS, "execs", "rm", "web", "loop")
    assert (busy.returncode, "is running" in busy.stderr) == (FailedPrecondition.exit_status, True)
    (shown,) = json.loads(web.cli("-n", NS, "--json", "execs", "ls", "web").stdout)
    assert (shown["status"], shown["args"], shown["kept"]) == ("running", ["sleep", "1000"], True)
    assert web.cli("-n", NS, "execs", "kill", "-s", "TERM", "web", "loop").stdout == "loop\n"
    assert web.cli("-n", NS, "execs", "wait", "web", "loop").stdout == "143\n"
    assert web.cli("-n", NS, "execs", "rm", "web", "loop").returncode == 0
    assert web.cli("-n", NS, *line).stdout == "loop\n"
    assert web.cli("-n", NS, "execs", "rm", "-f", "web", "loop").returncode == 0
    assert web.cli("-n", NS, "execs", "inspect", "web", "loop").returncode == NotFound.exit_status


@pytest.mark.parametrize(("program", "status"), [("/bin/nothing-here", 127), ("/etc", 126)])
def test_what_cannot_be_started_leaves_nothing(web: Daemon, program: str, status: int) -> None:
    for way in (["-d"], ["-d", "-t"], ["--keep"]):
        done = web.cli("-n", NS, "exec", *way, "web", program)
        assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert web.get(f"{WEB}/execs")["items"] == []
    assert not found(web.root, f"containers/{NS}/web/execs/*")


@contextmanager
def on_a_terminal(web: Daemon, *line: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The command on a terminal of its own: the person's end, and its process."""
    person, program = os.openpty()
    command = [sys.executable, "-m", "tricorn.cli", "--socket", web.socket_path, "-n", NS, *line]
    with subprocess.Popen(command, stdin=program, stdout=program, stderr=program) as process:
        os.close(program)
        try:
            yield person, process
        finally:
            process.kill()
            os.close(person)


def seen_until(person: int, text: bytes) -> bytes:
    seen, deadline = b"", time.monotonic() + 60
    while text not in seen and time.monotonic() < deadline:
        if select.select([person], [], [], 0.2)[0]:
            with suppress(OSError):
                seen += os.read(person, 4096)
    assert text in seen
    return seen


@one_runtime
def test_a_kept_session_at_a_terminal(web: Daemon) -> None:
    """The agent dies under it, the next command joins it, and the detach keys leave it."""
    kept = ["exec", "--keep", "-it", "--exec-id", "s1", "web", "sh", "-c", ECHO]
    with on_a_terminal(web, *kept) as (person, process):
        seen_until(person, b"up\r\n")
        os.write(person, b"one\r")
        seen_until(person, b"got one\r\n")
        web.kill()
        seen_until(person, b"exec s1 goes on: `tricorn attach --exec s1 web` joins it")
        assert process.wait(60) == 125
    web.start()
    with on_a_terminal(web, "attach", "--exec", "s1", "web") as (person, process):
        os.write(person, b"two\r")
        seen_until(person, b"got two\r\n")
        os.write(person, b"\x10\x11")
        seen_until(person, b"detached from exec s1 of web; it keeps running")
        assert process.wait(60) == 0
    with on_a_terminal(web, "attach", "--exec", "s1", "--replay", "web") as (person, process):
        seen_until(person, b"got two\r\n")
        os.write(person, b"end\r")
        seen_until(person, b"got end\r\n")
        assert process.wait(60) == 5
    assert web.cli("-n", NS, "execs", "rm", "web", "s1").returncode == 0


@one_runtime
def test_a_terminal_that_hangs_up_ends_nothing(web: Daemon) -> None:
    web.cli("-n", NS, "exec", "-d", "-it", "--exec-id", "s2", "web", "sh", "-c", ECHO)
    joining = ["attach", "--exec", "s2", "--replay", "web"]
    with on_a_terminal(web, *joining) as (person, process):
        seen_until(person, b"up\r\n")
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 130
    with on_a_terminal(web, *joining) as (person, process):
        seen_until(person, b"up\r\n")
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), person)  # closes the terminal
        assert process.wait(60) == 130
    assert web.get(f"{WEB}/execs/s2")["status"] == "running"
    assert web.cli("-n", NS, "execs", "rm", "-f", "web", "s2").returncode == 0


# ---------------------------------------------------------------- what is kept
@one_runtime
async def test_the_log_is_bounded(web: Daemon, client: Client) -> None:
    """A follower has every byte, the log the last ones."""
    count = 40_000
    script = f"read x; seq 1 {count}; read x"
    await client.execs.start("web", ExecStart(("sh", "-c", script), id="much", stdin=True))
    received = bytearray()
    async with client.execs.attach("web", "much") as session:
        await session.send_stdin(b"go\n")
        with trio.fail_after(60):
            async for piece in session:
                received += piece.data
                if received.endswith(b"\n%d\n" % count):
                    break
        assert received.split() == [b"%d" % number for number in range(1, count + 1)]
        logs = found(web.root, f"containers/{NS}/web/execs/much")[0]
        await trio.to_thread.run_sync(eventually, lambda: len(list(logs.iterdir())) == 2)
        await session.send_stdin(b"go\n")
        assert (await session.wait()).exit_code == 0
    await client.execs.remove("web", "much")


@one_runtime
async def test_the_latest_ended_ones_are_kept(web: Daemon, client: Client) -> None:
    names = [f"e{number}" for number in range(18)]
    for name in names:
        await client.execs.start("web", ExecStart(("true",), id=name))
        await client.execs.wait("web", name)
    assert [view.id for view in await client.execs.list("web")] == names[2:]
    assert len(found(web.root, f"containers/{NS}/web/execs/*")) == 16
    await trio.to_thread.run_sync(web.post, f"{WEB}/stop", {})
    assert len(await client.execs.list("web")) == 16
    await trio.to_thread.run_sync(web.post, f"{WEB}/start")
    assert await client.execs.list("web") == []
    assert not found(web.root, f"containers/{NS}/web/execs/*")


async def test_a_container_that_ends_takes_them_along(web: Daemon, client: Client) -> None:
    view = await client.execs.start("web", ExecStart(("sleep", "1000"), terminal=True))
    async with client.execs.attach("web", view.id) as session:
        await trio.to_thread.run_sync(web.post, f"{WEB}/stop", {})
        assert (await session.wait()).exit_code == 137
    with pytest.raises(FailedPrecondition, match="is not running"):
        await client.execs.start("web", ExecStart(("true",)))
    await trio.to_thread.run_sync(web.post, f"{WEB}/start")
    with pytest.raises(NotFound):
        await client.execs.get("web", view.id)


@one_runtime
async def test_what_is_refused(web: Daemon, client: Client) -> None:
    with pytest.raises(InvalidArgument, match="nothing to execute"):
        await client.execs.start("web", ExecStart(()))
    with pytest.raises(InvalidArgument, match="malformed"):
        await client.execs.start("web", ExecStart(("true",), id="../up"))
    with pytest.raises(NotFound, match="nobody does not exist"):
        await client.execs.list("nobody")
    await client.execs.start("web", ExecStart(("sleep", "1000"), id="s"))
    with pytest.raises(AlreadyExists):
        await client.execs.start("web", ExecStart(("true",), id="s"))
    with pytest.raises(FailedPrecondition, match="has no terminal"):
        await client.execs.resize("web", "s", 10, 10)
    with pytest.raises(ApiError, match="signalled alone"):
        await trio.to_thread.run_sync(web.post, f"{WEB}/execs/s/kill", {"all": True})
    await client.execs.remove("web", "s", force=True)
