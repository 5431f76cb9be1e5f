"""The edges of the command line: errors, exit statuses, what is imported and how long it takes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from tricorn import __version__, errors
from tricorn.cli import output
from tricorn.cli.main import COMMANDS, root

Run = Callable[..., Any]


def walk(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found += walk(child, (*path, name))
    return found


ALL = walk(root)


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_every_command_has_help(tricorn: Run, path: tuple[str, ...]) -> None:
    outcome = tricorn(*path, "--help")
    assert outcome.status == 0
    command = dict(ALL)[path]
    if not isinstance(command, click.Group):
        assert "Examples:\n  tricorn" in outcome.out or path[0] == "container" or "source <(" in outcome.out
        assert command.help


def test_the_version_needs_no_agent(tricorn: Run) -> None:
    outcome = tricorn("--version")
    assert (outcome.status, outcome.out) == (0, f"tricorn, version {__version__}\n")


def test_every_example_parses() -> None:
    import shlex

    for path, command in ALL:
        for line in (command.epilog or "").splitlines() if path else []:
            if "source <(" in line or "$(" in line:
                continue
            words = shlex.split(re.split(r"[|>&]", line.split("| ")[-1] if "| tricorn" in line else line)[0])
            assert words[0] == "tricorn"
            with root.make_context("tricorn", words[1:]) as context:
                arguments = [*context._protected_args, *context.args]
                _descend(root, context, arguments)


def _descend(group: click.Group, context: click.Context, arguments: list[str]) -> None:
    name, command, rest = group.resolve_command(context, arguments)
    assert command is not None
    with command.make_context(name, rest, parent=context) as inner:
        if isinstance(command, click.Group) and (left := [*inner._protected_args, *inner.args]):
            _descend(command, inner, left)


@pytest.mark.parametrize("error", sorted(errors.BY_CODE.values(), key=lambda cls: cls.code))
def test_exit_statuses_are_the_errors(agent: Any, tricorn: Run, error: type[errors.TricornError]) -> None:
    agent.refuse("GET /v1/info", error("it broke", why="of old age", hint="buy\nanother", field="x"))
    outcome = tricorn("info")
    assert outcome.status == error.exit_status
    assert outcome.out == ""
    assert outcome.err == "tricorn: x: it broke: of old age (hint: buy another)\n"


def test_an_error_without_a_problem_document(agent: Any, tricorn: Run) -> None:
    agent.raw("GET /v1/info", b"<html>no</html>", 503)
    outcome = tricorn("info")
    assert outcome.status == errors.Unavailable.exit_status
    assert outcome.err == "tricorn: the agent answered with HTTP status 503: <html>no</html>\n"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["ps", "--nonsense"], ["run"], ["exec", "web"], ["rm"], ["image"], ["run", "-d", "--rm", "a"], ["run", "--pull", "maybe", "a"],
     ["image", "pull", "--username", "me", "a"], ["events", "--since", "yesterday"], ["completion", "powershell"], []],
)  # fmt: skip
def test_usage_errors(tricorn: Run, arguments: list[str]) -> None:
    outcome = tricorn(*arguments)
    assert outcome.status == 2
    assert outcome.err
    assert outcome.out == ""


def test_a_usage_error_is_one_line_with_a_hint(tricorn: Run) -> None:
    outcome = tricorn("ps", "--nonsense")
    assert outcome.err.startswith("tricorn: No such option")
    assert outcome.err.endswith("(hint: see `tricorn ps --help`)\n")
    assert outcome.err.count("\n") == 1


def test_nobody_listens(tricorn: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "nobody.sock")
    outcome = tricorn("--socket", path, "ps")
    assert outcome.status == 12
    assert outcome.err.startswith(
        f"tricorn: cannot reach the agent at {path}: is tricornd running?: no such file"
    )
    assert outcome.err.count("\n") == 1


def test_a_path_that_is_too_long(tricorn: Run) -> None:
    outcome = tricorn("--socket", "/" + "x" * 200, "ps")
    assert outcome.status == 2
    assert "--socket" in outcome.err


def test_a_socket_that_is_not_ours(tricorn: Run, agent: Any, tmp_path: Path) -> None:
    import socket
    import threading

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "other.sock"))
    listener.listen()

    def serve() -> None:
        link, _ = listener.accept()
        with link:
            link.sendall(b"220 mail.example ESMTP\r\n\r\n")
            link.recv(4096)

    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        outcome = tricorn("--socket", str(tmp_path / "other.sock"), "ps")
        thread.join(60)
    assert outcome.status == 1
    assert "isn't HTTP" in outcome.err


def test_version_without_an_agent_still_tells_its_own(tricorn: Run) -> None:
    outcome = tricorn("--socket", "/nope", "version")
    assert outcome.status == 12
    assert outcome.out == "client  0.1.0\n"


def test_a_broken_pipe_ends_quietly(agent: Any, spawn: Run) -> None:
    line = {"timestamp": "t", "stream": "stdout", "text": "x" * 1000}
    agent.stream("GET /v1/default/containers/web/logs", *([line] * 500))
    process = spawn("logs", "web", stdin=subprocess.DEVNULL)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 130
    assert process.stderr.read() == b""


def test_ctrl_c_ends_quietly(agent: Any, spawn: Run) -> None:
    import threading

    arrived = threading.Event()

    def hang(link: Any, http: Any, request: Any) -> None:
        arrived.set()
        assert link.recv(1) == b"", "the client leaves"
        raise ConnectionError

    agent._reply = hang
    process = spawn("wait", "web")
    assert arrived.wait(60)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == b""


def test_tables_on_a_terminal_use_rich(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    output.table(("NAME", "STATE", "NOTE"), [("[bold]web", "running 2m", "x" * 80)])
    printed = re.sub(r"\x1b\[[\d;]*m", "", capfd.readouterr().out)
    assert printed.splitlines()[1].split()[:3] == ["[bold]web", "running", "2m"]
    assert "…" in printed


# ---------------------------------------------------------------- start-up
def test_version_imports_only_what_it_needs(agent: Any, spawn: Run) -> None:
    agent.answer("GET /v1/version", {"version": "9.9"})
    process = spawn("version", env={"PYTHONPROFILEIMPORTTIME": "1"})
    out, err = process.communicate(timeout=60)
    assert b"server  9.9" in out
    imported = {line.split("|")[-1].strip() for line in err.decode().splitlines() if "import time" in line}
    assert {"h11", "click"} <= imported
    heavy = {
        "trio",
        "rich",
        "attr",
        "attrs",
        "msgspec",
        "cattrs",
        "structlog",
        "asyncio",
        "ssl",
        "tricorn.model",
        "tricorn.cli.run",
    }
    assert not heavy & imported


@pytest.mark.parametrize(
    "arguments",
    [["ps"], ["--json", "ps"], ["logs", "web"], ["run", "--rm", "alpine"], ["image", "pull", "a"]],
)
def test_piped_commands_import_neither_trio_nor_rich(agent: Any, spawn: Run, arguments: list[str]) -> None:
    agent.listed("GET /v1/default/containers?all=false", {"id": "a"})
    agent.stream("GET /v1/default/containers/web/logs")
    process = spawn(*arguments, env={"PYTHONPROFILEIMPORTTIME": "1"})
    _, err = process.communicate(timeout=60)
    imported = {line.split("|")[-1].strip() for line in err.decode().splitlines() if "import time" in line}
    assert not {"trio", "rich", "attr", "msgspec"} & imported


def test_version_is_quick(agent: Any, command: list[str]) -> None:
    """The budget is 0.25 s. Processor time is taken, the best of a few runs, as others may use the machine."""
    agent.answer("GET /v1/version", {"version": "9.9"})
    best = 9.0
    for _ in range(8):
        process = subprocess.Popen([*command, "version"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        best = min(best, usage.ru_utime + usage.ru_stime)
        if best < 0.25:
            break
    assert best < 0.25


def test_the_table_of_commands_leads_to_files() -> None:
    for name in COMMANDS:
        assert root.get_command(click.Context(root), name) is not None
