"""What every OCI runtime under the Runtime port has to do with the stdio that clients bring along."""
# ruff: noqa: ASYNC110, ASYNC240 - tests look at files and processes directly, and wait by looking again

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio
from attrs import evolve

from tricorn.errors import Internal, InvalidArgument, NotFound, PermissionDenied, Unimplemented
from tricorn.model.stdio import NULL_STDIO, Stdio
from tricorn.ports import BundleRef, Created
from tricorn.runtime import conmon
from tricorn.runtime.bundle import Bundle
from tricorn_testing.containers import Node
from tricorn_testing.fifos import Fifos, fifos

pytestmark = [pytest.mark.integration, pytest.mark.root]
WAIT = 30


@pytest.fixture
def client(short_path: Path):
    with fifos(short_path) as made:
        made.open()
        yield made


@pytest.fixture
def terminal(short_path: Path):
    with fifos(short_path, terminal=True) as made:
        made.open()
        yield made


async def start(node: Node, stdio: Stdio, *args: str, **desired) -> tuple[BundleRef, Created]:
    ref = evolve(await node.bundle(*args, terminal=stdio.terminal, **desired), stdio=stdio)
    node.refs[ref.id] = ref
    created = await node.runtime.create(ref)
    await node.runtime.start(ref)
    return ref, created


async def ended(node: Node, ref: BundleRef, created: Created) -> int:
    with trio.fail_after(WAIT):
        return (await node.runtime.wait(ref, created)).code


# ---------------------------------------------------------------- monitors that start ahead
def monitors(ref: BundleRef) -> list[int]:
    return [monitor.pid for monitor in conmon.find_by_bundle(Bundle.of(ref))]


async def only_monitor(ref: BundleRef) -> int:
    """Return the one there is, which just started: the kernel gives it its name a moment later."""
    with trio.fail_after(WAIT):
        while not (found := monitors(ref)):
            await trio.sleep(0.01)
    (pid,) = found
    return pid


async def only_open(before: set[str]) -> None:
    """Wait until no more is open than before: a thread that was left behind may close its own a moment later."""
    with trio.move_on_after(WAIT):
        while set(os.listdir("/proc/self/fd")) != before:
            await trio.sleep(0.05)
    assert set(os.listdir("/proc/self/fd")) == before


async def prepared(node: Node, stdio: Stdio, *args: str) -> BundleRef:
    return evolve(await node.bundle(*args, terminal=stdio.terminal), stdio=stdio)


@pytest.mark.parametrize("is_terminal", [False, True], ids=["pipes", "terminal"])
async def test_the_monitor_that_started_ahead_is_used(node, short_path, is_terminal):
    with fifos(short_path, terminal=is_terminal) as made:
        made.open()
        ref = node.refs["x"] = await prepared(node, made.stdio, "sh", "-c", "echo out; exit 3")
        os.rename(f"{ref.bundle}/config.json", f"{ref.bundle}/later")
        async with node.runtime.ahead(ref):
            ahead = await only_monitor(ref)
            os.rename(f"{ref.bundle}/later", f"{ref.bundle}/config.json")
            created = await node.runtime.create(ref)
        assert created.monitor.pid == ahead
        await node.runtime.start(ref)
        assert (await made.read_all("stdout")).strip() == b"out"
        assert await ended(node, ref, created) == 3


async def test_nothing_is_left_of_a_monitor_that_was_not_needed(node, client):
    ref = await prepared(node, client.stdio, "true")
    before = set(os.listdir("/proc/self/fd"))
    async with node.runtime.ahead(ref):
        ahead = await only_monitor(ref)
    assert not os.path.exists(f"/proc/{ahead}")
    await only_open(before)
    os.truncate(f"{ref.bundle}/config.json", 0)
    async with node.runtime.ahead(ref):
        with pytest.raises(Internal, match="config"):
            await node.runtime.create(ref)
    assert monitors(ref) == []
    await only_open(before)


# ---------------------------------------------------------------- pipes and terminals
async def test_output_reaches_its_fifo_and_ends_with_the_process(node, client):
    ref, created = await start(node, client.stdio, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert await client.read_all("stdout") == b"out\n"
    assert await client.read_all("stderr") == b"err\n"
    assert await ended(node, ref, created) == 3


async def test_input_comes_through_and_ends_when_asked_for(node, client):
    ref, created = await start(node, client.stdio, "sh", "-c", "cat; echo end")
    await client.write(b"one\n")
    assert await client.read_until(b"one\n") == b"one\n"
    client.close("stdin")  # a client that goes away ends nothing
    await client.write(b"two\n")
    assert await client.read_until(b"two\n") == b"two\n"
    await client.write(b"three\n")
    await node.runtime.end_stdin(ref, "", created)
    client.close("stdin")
    assert await client.read_all() == b"three\nend\n"
    assert await ended(node, ref, created) == 0


async def test_much_output_waits_for_a_slow_reader_and_is_whole(node, client):
    size = 8 * 2**20
    ref, created = await start(
        node, client.stdio, "sh", "-c", f"yes 123456789abcdef | head -c {size}; exit 4"
    )
    received = 0
    with trio.fail_after(60):
        while data := await client.read():
            assert data == (b"123456789abcdef\n" * (len(data) // 16 + 2))[received % 16 :][: len(data)]
            received += len(data)
            await trio.sleep(0.0005)
    assert received == size
    assert await ended(node, ref, created) == 4


async def test_output_waits_in_its_fifo_for_a_client_that_comes_back(node, client):
    ref, created = await start(
        node, client.stdio, "sh", "-c", "echo first; read x; echo while-away; read x; echo last; exit 5"
    )
    await client.read_until(b"first\n")
    client.close()
    await client.write(b"go\n")
    client.open()
    assert await client.read_until(b"while-away\n") == b"while-away\n"
    await client.write(b"go\n")
    assert await client.read_all() == b"last\n"
    assert await ended(node, ref, created) == 5


async def test_a_process_is_not_ended_by_nobody_reading(node, short_path):
    with fifos(short_path) as client:
        ref, created = await start(node, client.stdio, "sh", "-c", "echo unread; echo unread >&2; exit 6")
        assert await ended(node, ref, created) == 6
        with trio.fail_after(WAIT):
            await node.runtime.delete(ref, created)


async def test_a_terminal_is_one_stream_with_a_size(node, terminal):
    ref, created = await start(
        node, terminal.stdio, "sh", "-c", "read x; stty size; tty; echo err >&2; exit 7"
    )
    await node.runtime.resize(ref, 33, 99)
    await terminal.write(b"go\n")
    output = await terminal.read_all()
    assert output.endswith(b"33 99\r\n/dev/pts/0\r\nerr\r\n") or b"33 99\r\n/dev/" in output
    assert b"err\r\n" in output
    assert await ended(node, ref, created) == 7


async def test_much_output_of_a_terminal_is_whole(node, terminal):
    ref, created = await start(node, terminal.stdio, "seq", "1", "20000")
    output = await terminal.read_all()
    assert output.decode().split() == [str(number) for number in range(1, 20001)]
    assert await ended(node, ref, created) == 0


async def test_a_terminal_that_nobody_reads_does_not_hide_the_exit(node, short_path, monkeypatch):
    monkeypatch.setattr("tricorn.limits.EXEC_DRAIN", 0.2)
    monkeypatch.setattr("tricorn.limits.STDIO_LINGER", 0.2)
    with fifos(short_path, terminal=True) as client:
        ref, created = await start(node, client.stdio, "sh", "-c", "while :; do echo 0123456789; done")
        await node.runtime.kill(ref, created.init, signal.SIGKILL)
        assert await ended(node, ref, created) == 137


async def test_nothing_named_is_nothing_given(node):
    ref, created = await start(node, NULL_STDIO, "sh", "-c", "read x; echo out; echo err >&2; exit 8")
    assert await ended(node, ref, created) == 8
    assert not os.path.exists(ref.log)
    await node.runtime.end_stdin(ref, "", created)


async def test_files_are_appended_to(node, short_path):
    path = short_path / "new/dir/out.log"
    for number in (1, 2):
        ref, created = await start(
            node, Stdio(stdout=f"file://{path}", stderr=f"file://{path}"), "sh", "-c",
            f"echo out{number}; echo err{number} >&2",
        )  # fmt: skip
        assert await ended(node, ref, created) == 0
    assert path.read_text() == "out1\nerr1\nout2\nerr2\n"


async def test_a_terminal_can_be_kept_in_a_file(node, short_path):
    path = short_path / "tty.log"
    ref, created = await start(node, Stdio(stdout=f"file://{path}", terminal=True), "echo", "word")
    assert await ended(node, ref, created) == 0
    await node.runtime.delete(ref, created)
    assert path.read_bytes() == b"word\r\n"


async def test_stdio_that_cannot_be_opened_is_a_typed_error_and_leaves_nothing(node, short_path):
    ref = await node.bundle("true")
    for stdio, kind in (
        (Stdio(stdout=str(short_path / "missing")), NotFound),
        (Stdio(stdout=str(short_path)), InvalidArgument),
        (Stdio(stdout="relative"), InvalidArgument),
        (Stdio(stdout="streaming://7"), Unimplemented),
        (Stdio(stdout="binary:///bin/true"), PermissionDenied),
    ):
        with pytest.raises(kind):
            await node.runtime.create(evolve(ref, stdio=stdio))
        assert os.listdir(ref.bundle) == ["config.json"]


async def test_a_failing_create_speaks_to_the_caller_not_to_the_client(node, client):
    ref = evolve(await node.bundle("no-such-program"), stdio=client.stdio)
    with pytest.raises(InvalidArgument) as caught:
        await node.runtime.create(ref)
        await node.runtime.start(ref)
    assert "no-such-program" in caught.value.why
    await node.runtime.delete(ref, None)
    assert os.listdir(ref.bundle) == ["config.json"]


# ---------------------------------------------------------------- execs
async def run_exec(node: Node, ref: BundleRef, name: str, client: Fifos, *args: str) -> Created:
    process = node.process(ref, *args, terminal=client.terminal)
    return await node.runtime.start_exec(ref, name, process, client.stdio)


async def test_execs_side_by_side_have_stdio_and_codes_of_their_own(node, short_path):
    ref, _ = await start(node, NULL_STDIO, "sleep", "1000")
    with fifos(short_path) as one, fifos(short_path) as two:
        one.open()
        two.open()
        first = await run_exec(node, ref, "one", one, "sh", "-c", "read x; echo $x; exit 1")
        second = await run_exec(node, ref, "two", two, "sh", "-c", "cat; echo err >&2; exit 2")
        await two.write(b"second\n")
        await one.write(b"first\n")
        assert await one.read_all() == b"first\n"
        await node.runtime.end_stdin(ref, "two", second)
        two.close("stdin")
        assert (await two.read_all(), await two.read_all("stderr")) == (b"second\n", b"err\n")
        with trio.fail_after(WAIT):
            assert (await node.runtime.wait_exec(ref, "one", first)).code == 1
            assert (await node.runtime.wait_exec(ref, "two", second)).code == 2
    for name in ("one", "two", "two"):
        await node.runtime.remove_exec(ref, name)
    assert os.listdir(f"{ref.bundle}/exec") == []


async def test_an_exec_on_a_terminal_loses_nothing_and_resizes(node, terminal):
    ref, _ = await start(node, NULL_STDIO, "sleep", "1000")
    created = await run_exec(node, ref, "tty", terminal, "sh", "-c", "echo up; read x; stty size; exit 3")
    await terminal.read_until(b"up\r\n")
    await node.runtime.resize_exec(created, 21, 87)
    await terminal.write(b"go\n")
    assert b"21 87\r\n" in await terminal.read_all()
    with trio.fail_after(WAIT):
        assert (await node.runtime.wait_exec(ref, "tty", created)).code == 3
    await node.runtime.remove_exec(ref, "tty")


async def test_an_exec_is_killed_by_signal_and_by_removal(node):
    ref, _ = await start(node, NULL_STDIO, "sleep", "1000")
    process = node.process(ref, "sleep", "1000")
    first = await node.runtime.start_exec(ref, "one", process, NULL_STDIO)
    await node.runtime.kill_exec(ref, first, signal.SIGKILL)
    with trio.fail_after(WAIT):
        assert (await node.runtime.wait_exec(ref, "one", first)).code == 137
    with pytest.raises(NotFound):
        await node.runtime.kill_exec(ref, first, signal.SIGTERM)
    second = await node.runtime.start_exec(ref, "two", process, NULL_STDIO)
    await node.runtime.remove_exec(ref, "two")
    assert not os.path.exists(f"/proc/{second.init.pid}")


async def test_an_exec_of_nothing_executable_says_so_and_leaves_nothing(node, short_path):
    ref, _ = await start(node, NULL_STDIO, "sleep", "1000")
    for is_terminal in (False, True):
        with fifos(short_path, terminal=is_terminal) as client:
            client.open()
            with pytest.raises(InvalidArgument, match="executed") as caught:
                await run_exec(node, ref, "nothing", client, "no-such-program")
            assert "no-such-program" in caught.value.why
    assert os.listdir(f"{ref.bundle}/exec") == []


async def test_deleting_a_container_ends_its_execs(node, client):
    ref, created = await start(node, NULL_STDIO, "sleep", "1000")
    made = await run_exec(node, ref, "one", client, "sleep", "1000")
    await node.runtime.delete(ref, created)
    assert not os.path.exists(f"/proc/{made.init.pid}")
    assert not os.path.exists(f"/proc/{made.monitor.pid}")
    assert await client.read_all() == b""


# ---------------------------------------------------------------- limits and figures
async def test_limits_of_a_running_container_change(node):
    ref, _ = await start(node, NULL_STDIO, "sleep", "1000")
    await node.runtime.update(ref, {"memory": {"limit": 128 * 2**20}, "pids": {"limit": 77}})
    files = (await node.runtime.cgroup_files(ref)).files
    limit = files.get("memory.limit_in_bytes") or files["memory.max"]
    assert (int(limit), int(files["pids.max"])) == (128 * 2**20, 77)
    with pytest.raises(InvalidArgument):
        await node.runtime.update(ref, {"memory": {"limit": 1}})


async def test_accounting_files_come_as_they_are(node):
    ref, created = await start(node, NULL_STDIO, "sleep", "1000")
    with trio.fail_after(30):  # runc's own threads are counted until it has become the program
        while int((found := await node.runtime.cgroup_files(ref)).files["pids.current"]) != 1:
            await trio.sleep(0.01)
    assert found.version in {1, 2}
    assert "inactive_file" in found.files["memory.stat"]
    await node.runtime.delete(ref, created)
    with pytest.raises(NotFound):
        await node.runtime.cgroup_files(ref)
