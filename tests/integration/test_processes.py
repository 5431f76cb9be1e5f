"""Processes as containerd's clients handle them, on real runtimes: made by a client's spec, on its FIFOs."""
# ruff: noqa: ASYNC110, ASYNC240 - tests look at files and processes directly, and wait by looking again

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tricorn.config import Logs
from tricorn.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from tricorn.model.records import Container, TaskStatus
from tricorn.model.requests import ContainerDesired, ExecRequest, StopRequest
from tricorn.model.stdio import NULL_STDIO, Stdio
from tricorn.rules.plan import canonical
from tricorn_testing.client_agent import ClientAgent, client_spec, closing_agent
from tricorn_testing.fifos import fifos
from tricorn_testing.waiting import runs_program

pytestmark = [pytest.mark.integration, pytest.mark.root]
WAIT = 30


@pytest.fixture(params=["crun", "runc"])
async def client(request: pytest.FixtureRequest, short_path: Path) -> AsyncIterator[ClientAgent]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} isn't installed")
    async with closing_agent(short_path, request.param) as opened:
        info = (await opened.agent.workers.runtime.capabilities())[request.param]
        if not info.usable:
            pytest.skip(info.reason)
        yield opened


async def test_a_process_runs_ends_and_is_deleted_as_clients_expect(client, short_path):
    ns, processes = client.namespace, client.processes
    with fifos(short_path) as io:
        io.open()
        name = await client.create("sh", "-c", "read x; echo out $x; echo err >&2; exit 3", stdio=io.stdio)
        view = await processes.get(ns, name)
        assert (view.status, view.id, view.stdio) == (TaskStatus.CREATED, name, io.stdio)
        with pytest.raises(AlreadyExists):
            await client.task(name)
        pid = await processes.start(ns, name)
        assert (await processes.get(ns, name)).status is TaskStatus.RUNNING
        assert pid == view.pid
        with pytest.raises(FailedPrecondition):
            await processes.start(ns, name)
        with pytest.raises(FailedPrecondition):
            await processes.delete(ns, name)
        await io.write(b"in\n")
        assert (await io.read_all(), await io.read_all("stderr")) == (b"out in\n", b"err\n")
        assert await client.wait(name) == 3
    with pytest.raises(NotFound):
        await processes.kill(ns, name, signal.SIGTERM)
    deleted = await processes.delete(ns, name)
    assert (deleted.pid, deleted.exit_code) == (pid, 3)
    assert deleted.exited_at is not None
    for call in (processes.get, processes.delete, processes.wait):
        with pytest.raises(NotFound):
            await call(ns, name)
    assert [topic for topic, _ in await client.events()] == [
        "/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete",
    ]  # fmt: skip
    assert (await client.agent.services.container_records.get(ns, name)).id == name


async def test_events_have_the_fields_of_containerds_messages(client, short_path):
    with fifos(short_path) as io:
        name = await client.run("sleep", "1000", stdio=io.stdio)
        await client.exec(name, "one", "sh", "-c", "exit 4")
        assert await client.wait(name, "one") == 4
        await client.processes.pause(client.namespace, name)
        await client.processes.resume(client.namespace, name)
        await client.processes.kill(client.namespace, name, signal.SIGKILL)
        assert await client.wait(name) == 137
        await client.processes.delete(client.namespace, name)
    found = await client.events()
    topics = [topic.removeprefix("/tasks/") for topic, _ in found if topic != "/tasks/exit"]
    assert topics == ["create", "start", "exec-added", "exec-started", "paused", "resumed", "delete"]
    created = found[0][1]
    assert set(created) == {"container_id", "bundle", "rootfs", "io", "checkpoint", "pid"}
    assert created["io"]["stdout"] == io.path("stdout")
    assert created["rootfs"][0]["type"] == "bind"
    exits = {event["id"]: event for topic, event in found if topic == "/tasks/exit"}
    assert exits["one"]["exit_status"] == 4
    assert exits[name]["exit_status"] == 137
    assert set(exits[name]) == {"container_id", "id", "pid", "exit_status", "exited_at"}


async def test_a_quick_process_starts_before_it_exits(client):
    for _ in range(3):
        name = await client.run("true")
        assert await client.wait(name) == 0
        await client.processes.delete(client.namespace, name)
    topics = [topic for topic, _ in await client.events()]
    assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"] * 3


async def test_a_created_task_can_be_deleted_and_made_again(client):
    name = await client.create("sleep", "1000")
    pid = (await client.processes.get(client.namespace, name)).pid
    await client.processes.delete(client.namespace, name)
    assert not os.path.exists(f"/proc/{pid}")
    await client.task(name)
    await client.processes.kill(client.namespace, name, signal.SIGKILL, all=True)
    assert await client.wait(name) == 137


async def test_a_program_that_is_not_there_is_the_callers_error_and_leaves_a_removable_rest(client):
    name = await client.record("no-such-program")
    with pytest.raises(InvalidArgument) as caught:
        await client.task(name)
        await client.processes.start(client.namespace, name)
    assert "no-such-program" in caught.value.why
    for view in await client.processes.list(client.namespace):
        assert await client.wait(view.container) > 0
        await client.processes.delete(client.namespace, view.container)


# ---------------------------------------------------------------- execs
async def test_several_execs_live_side_by_side(client, short_path):
    ns, processes = client.namespace, client.processes
    name = await client.run("sleep", "1000")
    with fifos(short_path) as one, fifos(short_path, terminal=True) as two:
        one.open()
        two.open()
        first = await client.exec(name, "one", "sh", "-c", "cat; exit 1", stdio=one.stdio)
        await client.exec(name, "two", "sh", "-c", "read x; stty size; exit 2", stdio=two.stdio)
        third = await client.exec(name, "three", "sleep", "1000")
        with pytest.raises(AlreadyExists):
            await client.exec(name, "three", "true")
        with pytest.raises(FailedPrecondition):
            await processes.delete(ns, name, "three")
        assert set(await processes.pids(ns, name)) >= {(first, "one"), (third, "three")}
        await processes.resize(ns, name, "two", 99, 33)
        await processes.resize(ns, name, "two", 0, 0)
        await two.write(b"go\n")
        assert b"33 99\r\n" in await two.read_all()
        await one.write(b"word\n")
        await processes.close_io(ns, name, "one", stdin=True)
        one.close("stdin")
        assert await one.read_all() == b"word\n"
        await processes.kill(ns, name, signal.SIGTERM, exec_id="three")
        assert [await client.wait(name, each) for each in ("one", "two", "three")] == [1, 2, 143]
    view = await processes.get(ns, name, "one")
    assert (view.id, view.container, view.status, view.exit_code) == ("one", name, TaskStatus.STOPPED, 1)
    for each, code in (("one", 1), ("two", 2), ("three", 143)):
        assert (await processes.delete(ns, name, each)).exit_code == code
        with pytest.raises(NotFound):
            await processes.get(ns, name, each)


async def test_an_exec_waits_to_be_started_and_can_be_deleted_before(client):
    ns, processes = client.namespace, client.processes
    name = await client.run("sleep", "1000")
    await processes.exec(ns, name, "later", {"args": ["true"], "cwd": "/"}, Stdio())
    assert (await processes.get(ns, name, "later")).status is TaskStatus.CREATED
    with pytest.raises(FailedPrecondition):
        await processes.kill(ns, name, signal.SIGTERM, exec_id="later")
    await processes.delete(ns, name, "later")
    with pytest.raises(NotFound):
        await processes.start(ns, name, "later")


async def test_an_exec_that_cannot_start_says_so_and_has_stopped(client):
    name = await client.run("sleep", "1000")
    with pytest.raises(InvalidArgument, match="executed"):
        await client.exec(name, "bad", "no-such-program")
    assert (await client.processes.get(client.namespace, name, "bad")).status is TaskStatus.STOPPED
    await client.processes.delete(client.namespace, name, "bad")


async def test_the_end_of_a_task_is_the_end_of_its_execs(client):
    ns, processes = client.namespace, client.processes
    name = await client.run("sleep", "1000")
    pid = await client.exec(name, "one", "sleep", "1000")
    await processes.kill(ns, name, signal.SIGKILL)
    assert await client.wait(name) == 137
    assert await client.wait(name, "one") == 137
    with pytest.raises(FailedPrecondition):
        await processes.exec(ns, name, "two", {"args": ["true"], "cwd": "/"}, Stdio())
    await processes.delete(ns, name)
    assert not os.path.exists(f"/proc/{pid}")


# ---------------------------------------------------------------- specs of clients
async def test_the_clients_spec_is_run_as_it_is(client):
    group = f"/{Path(client.agent.config.root).parent.name}/own/place"
    name = await client.run("sleep", "1000", cgroup=group, rootfsPropagation="private")
    pid = (await client.processes.get(client.namespace, name)).pid
    assert f"{group}\n" in Path(f"/proc/{pid}/cgroup").read_text()
    await trio.to_thread.run_sync(runs_program, pid, "sleep", "1000")
    status = Path(f"/proc/{pid}/status").read_text()
    assert "CapEff:\t00000000000000e3\n" in status
    assert "NoNewPrivs:\t1\n" in status
    other = await client.run("sleep", "1000")
    pid = (await client.processes.get(client.namespace, other)).pid
    assert f"/{client.namespace}/{other}\n" in Path(f"/proc/{pid}/cgroup").read_text()


# ---------------------------------------------------------------- the other door
async def test_the_http_door_handles_what_a_client_made(client, short_path):
    ns, services = client.namespace, client.agent.services
    with fifos(short_path) as io:
        name = await client.run("sleep", "1000", stdio=io.stdio)
        views = await services.containers.list(ns)
        assert [(view.id, view.task.status) for view in views] == [(name, TaskStatus.RUNNING)]
        assert (await services.containers.get(ns, name)).spec["process"]["args"] == ["sleep", "1000"]
        result = await services.tasks.exec(ns, name, ExecRequest(args=("echo", "hi")))
        assert (result.exit_code, result.stdout) == (0, "hi\n")
        with pytest.raises(FailedPrecondition, match="no log") as caught:
            async for _ in services.tasks.logs(ns, name):
                pass
        assert io.path("stdout") in caught.value.why
        with pytest.raises(FailedPrecondition, match="can't be attached to"):
            async with services.tasks.attach(ns, name):
                pass
        assert (await services.tasks.stats(ns, name))["pids"] == 1
        view = await services.tasks.stop(ns, name, StopRequest(0.05))
        assert view.task.status is TaskStatus.STOPPED
        await services.containers.delete(ns, name)
        assert await services.containers.list(ns) == []


async def test_a_terminal_and_files_without_a_client(client, short_path):
    with fifos(short_path, terminal=True) as io:
        io.open()
        name = await client.create("sh", "-c", "stty size; exit 6", stdio=io.stdio)
        await client.processes.resize(client.namespace, name, "", 87, 21)
        await client.processes.start(client.namespace, name)
        assert await io.read_all() == b"21 87\r\n"
        assert await client.wait(name) == 6
    path = short_path / "out.log"
    name = await client.run("echo", "word", stdio=Stdio(stdout=f"file://{path}"))
    assert await client.wait(name) == 0
    assert path.read_text() == "word\n"


async def test_limits_figures_and_pids(client):
    ns, processes = client.namespace, client.processes
    name = await client.run("sleep", "1000")
    await processes.update(ns, name, {"pids": {"limit": 55}})
    assert (await processes.figures(ns, name)).files["pids.max"].strip() == "55"
    assert [exec_id for _, exec_id in await processes.pids(ns, name)] == [""]
    await processes.pause(ns, name)
    assert (await processes.get(ns, name)).status is TaskStatus.PAUSED
    await processes.resume(ns, name)
    await processes.kill(ns, name, signal.SIGKILL)
    assert await client.wait(name) == 137
    for call in (processes.figures, processes.pids, processes.pause):
        with pytest.raises(FailedPrecondition):
            await call(ns, name)


async def test_32_mb_reach_a_slow_client_whole(client, short_path):
    line, size = b"0123456789abcde\n", 32 * 2**20
    with fifos(short_path) as io:
        script = f"yes {line.decode().strip()} | head -c {size}; echo >&2 done; exit 2"
        name = await client.run("sh", "-c", script, stdio=io.stdio)
        io.open()
        received, digest = 0, hashlib.sha256()
        while data := await io.read("stdout", 50_000):
            received += len(data)
            digest.update(data)
        assert await io.read_all("stderr") == b"done\n"
    assert await client.wait(name) == 2
    assert (received, digest.digest()) == (size, hashlib.sha256(line * (size // len(line))).digest())


# ---------------------------------------------------------------- logging programs
LOGGER = """#!/bin/sh
env > "$2.env"
tr '\\0' '\\n' < /proc/$$/cmdline > "$2.args"
(exec 5>&-; cat <&3 > "$2.out"; echo closed >> "$2.out") &
(exec 5>&-; cat <&4 > "$2.err") &
exec 3<&- 4<&- 5>&-
wait
"""


def logging_program(directory: Path, text: str = LOGGER) -> Path:
    path = directory / "logger"
    path.write_text(text)
    path.chmod(0o755)
    return path


async def test_a_logging_program_takes_the_output(short_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    program, kept = logging_program(short_path), short_path / "kept"
    address = f"binary://{program}?--to={kept}"
    async with closing_agent(short_path, "runc", logs=Logs(programs=(str(program),))) as client:
        stdio = Stdio(stdout=address, stderr=address)
        name = await client.run("sh", "-c", "echo out; echo err >&2; exit 3", stdio=stdio)
        assert await client.wait(name) == 3
        await client.processes.delete(client.namespace, name)
        await client.agent.services.containers.delete(client.namespace, name)  # after the task's clearing up
    assert Path(f"{kept}.out").read_text() == "out\nclosed\n"
    assert Path(f"{kept}.err").read_text() == "err\n"
    environment = Path(f"{kept}.env").read_text().splitlines()
    assert {f"CONTAINER_ID={name}", "CONTAINER_NAMESPACE=test"} <= set(environment)
    assert not [line for line in environment if line.startswith(("NOTIFY_SOCKET", "LISTEN_"))]
    assert Path(f"{kept}.args").read_text().splitlines()[-2:] == ["--to", str(kept)]


async def test_a_terminal_can_have_a_logging_program(short_path):
    program, kept = logging_program(short_path), short_path / "kept"
    async with closing_agent(short_path, "runc", logs=Logs(programs=(str(program),))) as client:
        stdio = Stdio(stdout=f"binary://{program}?--to={kept}", terminal=True)
        name = await client.run("echo", "word", stdio=stdio)
        assert await client.wait(name) == 0
        with trio.fail_after(WAIT):
            while not (Path(f"{kept}.out").exists() and b"closed" in Path(f"{kept}.out").read_bytes()):
                await trio.sleep(0.02)
    assert Path(f"{kept}.out").read_bytes() == b"word\r\nclosed\n"


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\nexec sleep 1000\n"])
async def test_a_logging_program_that_does_not_listen_fails_the_create(short_path, monkeypatch, text):
    monkeypatch.setattr("tricorn.limits.LOGGER_READY", 0.5)
    program = logging_program(short_path, text)
    async with closing_agent(short_path, "runc", logs=Logs(programs=(str(program),))) as client:
        with pytest.raises(FailedPrecondition, match="doesn't take output"):
            await client.run("true", stdio=Stdio(stdout=f"binary://{program}"))
        assert await client.processes.list(client.namespace) == []


async def test_only_named_programs_that_only_root_can_change_are_started(short_path):
    program = logging_program(short_path)
    async with closing_agent(short_path, "runc", logs=Logs(programs=(str(program),))) as client:
        with pytest.raises(PermissionDenied, match=r"/bin/true"):
            await client.run("true", stdio=Stdio(stdout="binary:///bin/true"))
        program.chmod(0o777)
        with pytest.raises(InvalidArgument, match="only root"):
            await client.run("true", stdio=Stdio(stdout=f"binary://{program}"))


# ---------------------------------------------------------------- both doors on one container
async def test_the_http_door_starts_what_a_client_made_and_keeps_its_log(client):
    ns, services = client.namespace, client.agent.services
    spec = client_spec("sh", "-c", "echo word; exit 3")
    spec["root"] = {"path": str(client.rootfs), "readonly": True}
    name = await client.record_of(spec)
    await services.tasks.start(ns, name)
    assert (await services.tasks.wait(ns, name)).exit_code == 3
    assert [line.text async for line in services.tasks.logs(ns, name)] == ["word"]
    view = await client.processes.get(ns, name)
    assert (view.status, view.stdio, view.exit_code) == (TaskStatus.STOPPED, NULL_STDIO, 3)
    with pytest.raises(AlreadyExists):
        await client.processes.create(ns, name)
    await client.processes.delete(ns, name)
    assert (await services.containers.get(ns, name)).task is None


async def test_clients_handle_what_the_agent_made(client, short_path):
    ns, processes, services = client.namespace, client.processes, client.agent.services
    group = f"/{Path(client.agent.config.root).parent.name}/test/own"
    spec = client_spec("sh", "-c", "cat; echo out; exit 4", cgroup=group)
    spec["root"] = {"path": str(client.rootfs), "readonly": True}
    desired = canonical(ContainerDesired(image="docker.io/none", stdin=True))
    record = Container("own", runtime=client.runtime, desired=desired, spec=json.dumps(spec).encode())
    await client.agent.workers.db.write(lambda tx: tx.containers.create(ns, record))
    await services.tasks.start(ns, "own")
    assert (await processes.get(ns, "own")).status is TaskStatus.RUNNING
    assert await client.exec("own", "one", "true")
    await processes.close_io(ns, "own", "", stdin=True)
    assert await client.wait("own") == 4
    assert [line.text async for line in services.tasks.logs(ns, "own")] == ["out"]
    await processes.delete(ns, "own")
    with fifos(short_path) as io:
        io.open()
        await processes.create(ns, "own", stdio=io.stdio)
        await processes.start(ns, "own")
        await processes.close_io(ns, "own", "", stdin=True)
        assert await io.read_all() == b"out\n"
        assert await client.wait("own") == 4
    await services.tasks.start(ns, "own")  # in the agent's own way again, after the client's
    assert (await processes.get(ns, "own")).stdio == NULL_STDIO


async def test_a_client_that_goes_away_while_a_task_starts_does_not_undo_it(client, monkeypatch):
    runtime, scope = client.agent.workers.runtime, trio.CancelScope()
    started = runtime.start

    async def start(ref):
        scope.cancel()  # the client's call ends just now
        await started(ref)

    monkeypatch.setattr(runtime, "start", start)
    name = await client.create("sleep", "1000")
    with scope:
        await client.processes.start(client.namespace, name)
    assert (await client.processes.get(client.namespace, name)).status is TaskStatus.RUNNING
