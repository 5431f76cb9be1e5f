"""`run`, `create`, `exec` and `attach` in the foreground, without a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tricorn.cli.program_errors import program_status
from tricorn.errors import AlreadyExists, FailedPrecondition, Internal, NotFound, TricornError, Unavailable
from tricorn.frames import FrameKind

Run = Callable[..., Any]
CREATE = "POST /v1/default/containers"
ATTACH = "GET /v1/default/containers/c1/attach?start=true"
REMOVE = "DELETE /v1/default/containers/c1?force=true"


@pytest.fixture
def made(agent: Any) -> Any:
    """An agent that creates c1."""
    agent.stream(CREATE, {"progress": {"operation": "1", "phase": "creating"}}, {"result": {"id": "c1"}})
    agent.answer(REMOVE, {"changed": True})
    return agent


def talk(*frames: tuple[FrameKind, Any]) -> Callable[[Any], None]:
    """A session that says these frames and ends."""

    def script(peer: Any) -> None:
        for kind, payload in frames:
            peer.send(kind, payload)
        while peer.receive() is not None:
            pass

    return script


STARTED = (FrameKind.STARTED, {"pid": 42})


def exited(code: int, **fields: Any) -> tuple[FrameKind, Any]:
    return FrameKind.EXIT, {"exit_code": code, **fields}


# ---------------------------------------------------------------- run
@pytest.mark.parametrize("command", [("create",), ("run", "-d")])
def test_what_the_node_couldnt_grant_is_told(agent: Any, tricorn: Run, command: tuple[str, ...]) -> None:
    made = {"id": "c1", "warnings": ["RLIMIT_NPROC is 10 instead of 20"]}
    agent.stream(CREATE, {"result": made})
    outcome = tricorn(*command, "--name", "c1", "alpine")
    assert (outcome.status, outcome.out, outcome.err) == (
        0,
        "c1\n",
        "tricorn: RLIMIT_NPROC is 10 instead of 20\n",
    )
    outcome = tricorn("--json", *command, "--name", "c1", "alpine")
    assert (outcome.json, outcome.err) == (made, "")


def test_run_streams_and_exits_as_the_container(made: Any, tricorn: Run) -> None:
    made.session(ATTACH, talk(STARTED, (FrameKind.STDOUT, b"out\n"), (FrameKind.STDERR, b"err\n"), exited(7)))
    outcome = tricorn("run", "--name", "c1", "-e", "A=1", "alpine", "sh", "-c", "exit 7")
    assert (outcome.status, outcome.out, outcome.err) == (7, "out\n", "creating\nerr\n")
    assert made.lines == [CREATE, ATTACH]
    assert made.body(CREATE) == {
        "name": "c1",
        "desired": {
            "image": "alpine",
            "state": "present",
            "pull": "missing",
            "env": {"A": "1"},
            "args": ["sh", "-c", "exit 7"],
        },
    }
    assert made.requests[0].headers["accept"] == "application/x-ndjson"
    assert made.requests[1].headers["upgrade"] == "tricorn-stdio/1"


def test_run_quiet_shows_no_progress(made: Any, tricorn: Run) -> None:
    made.session(ATTACH, talk(STARTED, exited(0)))
    outcome = tricorn("run", "-q", "alpine")
    assert (outcome.status, outcome.err) == (0, "")


def test_run_rm_removes(made: Any, tricorn: Run) -> None:
    made.session(ATTACH, talk(STARTED, exited(3)))
    assert tricorn("run", "--rm", "alpine").status == 3
    assert made.lines == [CREATE, ATTACH, REMOVE]


def test_run_rm_removes_what_could_not_start(made: Any, tricorn: Run) -> None:
    error = Internal(
        "cannot start c1", why="crun: executable file `nope` not found in $PATH: No such file or directory"
    )
    made.session(ATTACH, talk((FrameKind.ERROR, error.problem())))
    outcome = tricorn("run", "--rm", "alpine", "nope")
    assert outcome.status == 127
    assert "executable file `nope` not found" in outcome.err
    assert made.lines[-1] == REMOVE


def test_run_detached_starts_in_one_call_and_prints_the_id(made: Any, tricorn: Run) -> None:
    assert tricorn("run", "-q", "-d", "alpine").out == "c1\n"
    assert made.lines == [CREATE]
    assert made.body(CREATE)["desired"]["state"] == "started"
    assert tricorn("--json", "run", "-d", "alpine").json["id"] == "c1"


def test_create_prints_the_id(made: Any, tricorn: Run) -> None:
    assert tricorn("create", "-q", "alpine").out == "c1\n"
    assert tricorn("--json", "create", "alpine").json == {"id": "c1"}


@pytest.mark.parametrize("error", [AlreadyExists("container c1 exists"), NotFound("no such image")])
def test_run_exits_125_when_the_agent_refuses(agent: Any, tricorn: Run, error: TricornError) -> None:
    agent.refuse(CREATE, error)
    outcome = tricorn("run", "alpine")
    assert outcome.status == 125
    assert outcome.err == f"tricorn: {error.one_line()}\n"


def test_run_exits_125_when_the_pull_fails_midway(agent: Any, tricorn: Run) -> None:
    agent.stream(
        CREATE, {"progress": {"phase": "fetching"}}, {"error": Unavailable("registry is down").problem()}
    )
    outcome = tricorn("run", "alpine")
    assert (outcome.status, outcome.err) == (125, "fetching\ntricorn: registry is down\n")


def test_run_exits_125_without_an_agent(tricorn: Run) -> None:
    assert tricorn("--socket", "/nope", "run", "alpine").status == 125


def test_run_tells_that_the_agent_went(made: Any, tricorn: Run) -> None:
    made.session(ATTACH, lambda peer: peer.send(*STARTED))
    outcome = tricorn("run", "alpine")
    assert outcome.status == 125
    assert "closed the connection" in outcome.err


def test_a_note_about_the_exit_is_told(made: Any, tricorn: Run) -> None:
    made.session(ATTACH, talk(STARTED, exited(255, note="lost with the host")))
    outcome = tricorn("run", "-q", "alpine")
    assert (outcome.status, outcome.err) == (255, "tricorn: c1: lost with the host\n")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Internal("x", exit_code=127), 127),
        (Internal("x", exit_code=126), 126),
        (Internal("x", exit_code=3), 125),
        (Internal("exec failed", why='exec: "nope": executable file not found in $PATH'), 127),
        (Internal("exec failed", why='exec: "/etc": permission denied'), 126),
        (Internal("exec", why="exec format error"), 126),
        (Internal("container c1 can't be created", why="open executable: Operation not permitted"), 126),
        (NotFound("image missing", why="no such file or directory"), 125),
        (FailedPrecondition("not running"), 125),
    ],
)
def test_program_status(error: TricornError, status: int) -> None:
    assert program_status(error) == status


# ---------------------------------------------------------------- stdin, signals, amounts
def test_stdin_is_forwarded_and_closed(made: Any, spawn: Run) -> None:
    def echo(peer: Any) -> None:
        peer.send(*STARTED)
        while (frame := peer.receive()).kind is FrameKind.STDIN:
            peer.send(FrameKind.STDOUT, frame.payload.upper())
        assert frame.kind is FrameKind.STDIN_CLOSED
        peer.send(*exited(0))

    made.session(ATTACH, echo)
    process = spawn("run", "-qi", "alpine", "cat")
    out, err = process.communicate(b"hello\n", timeout=60)
    assert (process.returncode, out, err) == (0, b"HELLO\n", b"")
    assert made.body(CREATE)["desired"]["stdin"] is True


def test_without_i_stdin_is_left_alone(made: Any, spawn: Run) -> None:
    seen: list[Any] = []

    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(*exited(0))
        seen.append(peer.receive())

    made.session(ATTACH, script)
    process = spawn("run", "-q", "alpine")
    process.stdin.write(b"not for you\n")
    process.stdin.flush()
    assert process.wait(60) == 0
    assert seen == [None]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_go_to_the_container(made: Any, spawn: Run, number: signal.Signals) -> None:
    ready = threading.Event()

    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"up\n")
        ready.set()
        assert peer.expect(FrameKind.SIGNAL).document() == {"signal": number.name}
        peer.send(*exited(128 + number))

    made.session(ATTACH, script)
    process = spawn("run", "-q", "--rm", "alpine")
    assert process.stdout.readline() == b"up\n"
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert made.lines[-1] == REMOVE
    assert process.stderr.read() == b""


def test_the_third_ctrl_c_gives_up(made: Any, spawn: Run) -> None:
    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"up\n")
        for _ in range(2):
            peer.expect(FrameKind.SIGNAL)
            peer.send(FrameKind.STDOUT, b"no\n")
        while peer.receive() is not None:
            pass

    made.session(ATTACH, script)
    process = spawn("run", "-q", "--rm", "alpine")
    for expected in (b"up\n", b"no\n", b"no\n"):
        assert process.stdout.readline() == expected
        process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert made.lines[-1] == REMOVE


def test_an_ignored_signal_stays_ignored(made: Any, command: list[str]) -> None:
    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"up\n")
        assert peer.expect(FrameKind.SIGNAL).document() == {"signal": "SIGTERM"}
        peer.send(*exited(0))

    made.session(ATTACH, script)
    line = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command, "run", "-q", "alpine"]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, env={**os.environ, "TRICORN_SOCKET": made.path}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_no_sig_proxy(made: Any, spawn: Run) -> None:
    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"up\n")
        assert peer.receive() is None

    made.session(ATTACH, script)
    process = spawn("run", "-q", "--no-sig-proxy", "alpine")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


def test_much_output_and_slow_readers(made: Any, spawn: Run) -> None:
    """The reader lags, so the agent has to wait; nothing is lost or reordered."""
    block = bytes(range(256)) * 256
    sent = 0

    def script(peer: Any) -> None:
        nonlocal sent
        peer.send(*STARTED)
        for _ in range(200):
            peer.send(FrameKind.STDOUT, block)
            sent += 1
        peer.send(*exited(0))

    made.session(ATTACH, script)
    process = spawn("run", "-q", "alpine")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.7)
    assert sent < 50, "13 MB went somewhere although nobody read"
    out, _ = process.communicate(timeout=60)
    assert out == block * 200
    assert process.returncode == 0


def test_much_input_and_a_slow_container(made: Any, spawn: Run, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    source = tmp_path / "data"
    source.write_bytes(data)
    got = bytearray()

    def script(peer: Any) -> None:
        peer.send(*STARTED)
        while (frame := peer.receive()).kind is FrameKind.STDIN:
            got.extend(frame.payload)
        peer.send(*exited(0))

    made.session(ATTACH, script)
    with source.open("rb") as file:
        process = spawn("run", "-qi", "alpine", stdin=file)
        assert process.wait(60) == 0
    assert got == data


def test_output_into_a_file(made: Any, spawn: Run, tmp_path: Path) -> None:
    made.session(ATTACH, talk(STARTED, (FrameKind.STDOUT, b"x" * 500_000), exited(0)))
    with (tmp_path / "out").open("wb") as file:
        assert spawn("run", "-q", "alpine", stdout=file).wait(60) == 0
    assert (tmp_path / "out").stat().st_size == 500_000


def test_a_reader_that_leaves(made: Any, spawn: Run) -> None:
    def script(peer: Any) -> None:
        peer.send(*STARTED)
        while True:
            peer.send(FrameKind.STDOUT, b"y\n" * 1000)

    made.session(ATTACH, script)
    process = spawn("run", "-q", "--rm", "alpine", "yes")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 130
    assert process.stderr.read() == b""
    assert made.lines[-1] == REMOVE


def test_it_needs_a_terminal(made: Any, spawn: Run) -> None:
    process = spawn("run", "-it", "alpine")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"isn't a terminal" in err
    assert made.lines == []


# ---------------------------------------------------------------- exec and attach
EXEC = "POST /v1/default/containers/web/exec"


def test_exec_sends_its_request_first(agent: Any, tricorn: Run) -> None:
    heard: list[Any] = []

    def script(peer: Any) -> None:
        heard.append(peer.receive().document())
        heard.append(peer.receive().kind)
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"hi\n")
        peer.send(*exited(126))

    agent.session(EXEC, script)
    outcome = tricorn("exec", "-e", "A=1", "-w", "/tmp", "-u", "nobody", "web", "ls", "-l")
    assert (outcome.status, outcome.out, outcome.err) == (126, "hi\n", "")
    assert heard == [
        {"args": ["ls", "-l"], "env": {"A": "1"}, "cwd": "/tmp", "user": "nobody"},
        FrameKind.STDIN_CLOSED,
    ]
    assert agent.requests[0].body is None


def test_exec_json_collects(agent: Any, spawn: Run) -> None:
    agent.answer(EXEC, {"exit_code": 4, "stdout": "x", "stderr": ""})
    process = spawn("--json", "exec", "-i", "web", "cat")
    out, _ = process.communicate(b"input", timeout=60)
    assert process.returncode == 4
    assert json.loads(out)["stdout"] == "x"
    assert agent.body(EXEC) == {"args": ["cat"], "stdin": "input"}


def test_exec_in_a_stopped_container(agent: Any, tricorn: Run) -> None:
    agent.refuse(EXEC, FailedPrecondition("container web isn't running"))
    outcome = tricorn("exec", "web", "ls")
    assert (outcome.status, outcome.err) == (125, "tricorn: container web isn't running\n")


def test_an_agent_that_does_not_upgrade(agent: Any, tricorn: Run) -> None:
    agent.answer(EXEC, {})
    outcome = tricorn("exec", "web", "ls")
    assert (outcome.status, outcome.err) == (125, "tricorn: the agent did not switch protocols\n")


@pytest.mark.parametrize(("stdin", "options"), [(True, []), (True, ["--no-stdin"]), (False, [])])
def test_attach(agent: Any, spawn: Run, stdin: bool, options: list[str]) -> None:
    heard: list[Any] = []

    def script(peer: Any) -> None:
        peer.send(*STARTED)
        if stdin and not options:
            heard.append(peer.expect(FrameKind.STDIN).payload)
        peer.send(*exited(5))

    agent.answer("GET /v1/default/containers/web", {"id": "web", "desired": {"stdin": stdin}})
    agent.session("GET /v1/default/containers/web/attach", script)
    process = spawn("attach", *options, "web")
    process.stdin.write(b"typed\n")
    process.stdin.flush()
    assert process.wait(60) == 5
    assert heard == ([b"typed\n"] if stdin and not options else [])


def test_attach_to_nothing(agent: Any, tricorn: Run) -> None:
    assert tricorn("attach", "web").status == NotFound.exit_status
