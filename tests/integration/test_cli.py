"""The command line as people use it, against a real agent, registry and runtime."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tricorn import errors
from tricorn.client import Client
from tricorn.model.requests import ContainerDesired, ExecRequest
from tricorn_testing.daemon import Daemon
from tricorn_testing.images import ImageLayout, busybox_layer
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.integration]
Tricorn = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-m", "tricorn.cli"]


@pytest.fixture(scope="module")
def environment(agent: Daemon) -> dict[str, str]:
    return {**os.environ, "TRICORN_SOCKET": agent.socket_path}


@pytest.fixture(scope="module")
def tricorn(environment: dict[str, str]) -> Tricorn:
    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        settings = {"capture_output": True, "text": True, "timeout": 60, "env": environment}
        return subprocess.run([*COMMAND, *arguments], check=False, **{**settings, **options})

    return run


@pytest.fixture(scope="module")
def image(registry: Registry, tricorn: Tricorn, tmp_path_factory: pytest.TempPathFactory) -> str:
    layout = ImageLayout(Path(tmp_path_factory.mktemp("cli")) / "layout")
    layout.tag("base", layout.add_image([busybox_layer()], {"Cmd": ["sh"], "Env": ["PATH=/bin"]}))
    reference = registry.push(layout, "base", "cli/base:1")
    pulled = tricorn("image", "pull", "--plain-http", reference)
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.startswith(f"{reference}@sha256:")
    assert "done" in pulled.stderr
    return reference


@pytest.fixture(autouse=True)
def no_containers_left(tricorn: Tricorn) -> Iterator[None]:
    yield
    left = tricorn("ps", "-aq").stdout.split()
    if left:
        assert tricorn("rm", "-f", *left).returncode == 0


def test_run_to_the_end(tricorn: Tricorn, image: str) -> None:
    done = tricorn(
        "run",
        "--rm",
        "-e",
        "WHO=me",
        "-w",
        "/tmp",
        image,
        "sh",
        "-c",
        "echo $WHO; pwd; echo oops >&2; exit 7",
    )
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1:]) == (7, "me\n/tmp\n", ["oops"])
    assert tricorn("ps", "-aq").stdout == ""


def test_stdin_through_a_container(tricorn: Tricorn, image: str) -> None:
    text = "line\n" * 50_000
    done = tricorn("run", "-q", "--rm", "-i", image, "cat", input=text)
    assert done.returncode == 0, done.stderr
    assert done.stdout == text


@pytest.mark.parametrize(("program", "status"), [("/bin/nothing-here", 127), ("/etc", 126)])
def test_what_cannot_be_started(tricorn: Tricorn, image: str, program: str, status: int) -> None:
    done = tricorn("run", "-q", "--rm", image, program)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert done.stderr.startswith("tricorn: ")


def test_the_life_of_a_container(tricorn: Tricorn, image: str) -> None:
    started = tricorn(
        "run", "-d", "-q", "--name", "web", "-l", "app=web", image, "sh", "-c", "echo up; sleep 1000"
    )
    assert started.stdout == "web\n", started.stderr
    assert tricorn("ps", "-q", "--filter", "labels.app==web").stdout == "web\n"
    (row,) = tricorn("ps").stdout.splitlines()[1:]
    assert row.startswith("web ")
    assert " running " in row
    view = json.loads(tricorn("--json", "inspect", "web").stdout)
    assert view["task"]["status"] == "running"
    assert "memory_bytes" in tricorn("stats", "web").stdout
    assert tricorn("exec", "web", "sh", "-c", "echo in; exit 5").returncode == 5
    assert tricorn("exec", "-i", "web", "cat", input="piped").stdout == "piped"
    assert json.loads(tricorn("--json", "exec", "web", "id", "-u").stdout)["stdout"] == "0\n"
    assert tricorn("exec", "web", "/bin/nothing-here").returncode == 127
    assert tricorn("logs", "web").stdout == "up\n"
    refused = tricorn("rm", "web")
    assert refused.returncode == errors.FailedPrecondition.exit_status
    assert tricorn("stop", "-t", "0", "web").stdout == "web\n"
    assert "exited (137)" in tricorn("ps", "-a").stdout
    assert tricorn("wait", "web").stdout == "137\n"
    assert tricorn("start", "web").stdout == "web\n"
    assert tricorn("kill", "web").stdout == "web\n"
    assert tricorn("wait", "web").stdout == "137\n"
    assert tricorn("rm", "web").stdout == "web\n"


def test_an_interactive_shell(environment: dict[str, str], image: str) -> None:
    person, program = os.openpty()
    line = [*COMMAND, "run", "-q", "--rm", "-it", image, "sh"]
    with subprocess.Popen(line, stdin=program, stdout=program, stderr=program, env=environment) as process:
        os.close(program)
        try:
            os.write(person, b"stty size; echo $((40+2)); exit 3\r")
            assert b"42" in _read_until(person, b"\n42")
            assert process.wait(60) == 3
        finally:
            process.kill()
            os.close(person)


def _read_until(descriptor: int, text: bytes) -> bytes:
    seen, deadline = b"", time.monotonic() + 60
    while text not in seen and time.monotonic() < deadline:
        if select.select([descriptor], [], [], 0.2)[0]:
            seen += os.read(descriptor, 4096)
    return seen


def test_ctrl_c_reaches_the_container(environment: dict[str, str], image: str) -> None:
    script = "trap 'echo caught; exit 9' INT; echo up; while :; do sleep 0.1; done"
    line = [*COMMAND, "run", "-q", "--rm", image, "sh", "-c", script]
    with subprocess.Popen(line, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"up\n"
            process.send_signal(2)
            assert process.wait(60) == 9
            assert process.stdout.read() == b"caught\n"
        finally:
            process.kill()


def test_looking_around(tricorn: Tricorn, image: str) -> None:
    for arguments in (
        ["version"], ["info"], ["image", "ls"], ["namespace", "ls"], ["content", "ls"], ["snapshot", "ls"],
        ["lease", "ls"], ["operation", "ls"], ["events"], ["gc", "--dry-run"], ["gc", "explain", f"image/{image}"],
        ["image", "inspect", image],
    ):  # fmt: skip
        for form in ([], ["--json"]):
            done = tricorn(*form, *arguments)
            assert (done.returncode, done.stderr) == (0, ""), arguments
            assert json.loads(done.stdout) if form and arguments[0] != "lease" else done.stdout
    assert tricorn("lease", "create", "--id", "mine", "--expire", "1h").stdout == "mine\n"
    assert tricorn("lease", "rm", "mine").stdout == "mine\n"
    assert tricorn("namespace", "create", "other", "-l", "a=b").returncode == 0
    assert tricorn("namespace", "label", "other", "a=").returncode == 0
    assert tricorn("namespace", "rm", "other").returncode == 0
    assert tricorn("inspect", "nothing").returncode == errors.NotFound.exit_status


async def test_the_client_for_programs(agent: Daemon, image: str) -> None:
    with trio.fail_after(60):
        async with Client(agent.socket_path) as client:
            desired = ContainerDesired(image=image, state="present", args=("cat",), stdin=True)
            made = await client.containers.create(desired, name="job")
            async with client.containers.attach(made.id, start=True) as session:
                await session.send_stdin(b"hello")
                async for piece in session:
                    assert piece.data == b"hello"
                    break
                result = await client.containers.exec("job", ExecRequest(("echo", "hi")))
                assert (result.exit_code, result.stdout) == (0, "hi\n")
                await session.close_stdin()
                assert (await session.wait()).exit_code == 0
            assert (await client.containers.wait("job")).exit_code == 0
            async with client.containers.logs("job") as lines:
                assert [line.text.rstrip("\n") async for line in lines] == ["hello"]
            assert (await client.containers.delete("job")).changed
            items, _, _ = await client.events(since=0)
            assert any(event.topic == "/tasks/exit" for event in items)
