"""What every OCI runtime under the Runtime port has to do with further processes in a container."""
# ruff: noqa: ASYNC110, ASYNC240 - tests look at files and processes directly, and wait by looking again

from __future__ import annotations

import os
import signal

import pytest
import trio

from tricorn.errors import FailedPrecondition, InvalidArgument

pytestmark = [pytest.mark.integration, pytest.mark.root]
WAIT = 20


async def collect(stream) -> dict[str, bytes]:
    output = {"stdout": b"", "stderr": b""}
    async for kind, data in stream:
        output[kind] += data
    return output


async def until(condition, seconds: float = WAIT) -> None:
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.02)


async def test_exec_gives_code_and_both_streams(node):
    ref, _ = await node.start("sleep", "100")
    assert await node.exec(ref, "sh", "-c", "echo out; echo err >&2; exit 5") == (5, b"out\n", b"err\n")


async def test_exec_reads_stdin_to_its_end(node):
    ref, _ = await node.start("sleep", "100")
    data = os.urandom(300_000)
    assert await node.exec(ref, "cat", stdin=data) == (0, data, b"")


async def test_exec_takes_user_directory_and_environment(node):
    ref, _ = await node.start("sleep", "100", env={"A": "container"})
    script = "id -u; id -g; id -G; pwd; echo $A $B $HOME; grep CapInh /proc/self/status; grep CapEff /proc/self/status"
    code, out, _ = await node.exec(ref, "sh", "-c", script, user="app", cwd="/tmp", env={"B": "exec"})
    lines = out.decode().split("\n")
    assert code == 0
    assert lines[:5] == ["1000", "1000", "1000 44", "/tmp", "container exec /home/app"]
    assert lines[5].split()[1] == lines[6].split()[1] == "0" * 16


async def test_exec_is_killed_by_signal_and_by_leaving(node):
    ref, _ = await node.start("sleep", "100")
    async with node.runtime.exec(
        ref, "one", node.process(ref, "sleep", "100"), terminal=False, stdin=False
    ) as session:
        await session.kill(signal.SIGKILL)
        with trio.fail_after(WAIT):
            assert (await session.wait()).code == 137
    async with node.runtime.exec(
        ref, "two", node.process(ref, "sleep", "100"), terminal=False, stdin=False
    ) as session:
        pid = session.pid
        assert os.path.exists(f"/proc/{pid}")
    await until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert os.listdir(os.path.join(ref.bundle, "exec")) == []


async def test_exec_of_nothing_executable_says_so(node):
    ref, _ = await node.start("sleep", "100")
    for terminal in (False, True):
        with pytest.raises(InvalidArgument, match="executed") as caught:
            await node.exec(ref, "no-such-program", terminal=terminal)
        assert "no-such-program" in caught.value.why


async def test_exec_on_a_terminal_loses_nothing_and_resizes(node):
    ref, _ = await node.start("sleep", "100")
    for _ in range(3):
        assert await node.exec(ref, "echo", "quick", terminal=True) == (0, b"quick\r\n", b"")
    process = node.process(ref, "sh", "-c", "read x; stty size; tty; exit 6", terminal=True)
    async with node.runtime.exec(ref, "t", process, terminal=True, stdin=True) as session:
        await session.resize(33, 99)
        await session.send(b"go\n")
        with trio.fail_after(WAIT):
            output = await collect(session)
            assert (await session.wait()).code == 6
    assert b"33 99\r\n/dev/pts/" in output["stdout"]


async def test_exec_in_a_stopped_container_fails(node):
    ref, created = await node.start("true")
    await node.runtime.wait(ref, created)
    with pytest.raises((FailedPrecondition, InvalidArgument)):
        await node.exec(ref, "true")
