"""The runtime layer under deaths, crowds and strange names: what one conformance test can't show."""
# ruff: noqa: ASYNC110, ASYNC221, ASYNC240 - tests look at files and processes directly, and wait by looking again

from __future__ import annotations

import ctypes
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import cattrs
import pytest
import trio

from tricorn.errors import NotFound
from tricorn.ports import BundleRef, Created
from tricorn.runtime import conmon
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.conmon import find_by_bundle
from tricorn_testing.containers import Node, running_node
from tricorn_testing.daemon import SLOWNESS

pytestmark = [pytest.mark.integration, pytest.mark.root]
WAIT = 30
PR_SET_CHILD_SUBREAPER = 36

AGENT = """
import json, os, signal, sys
from pathlib import Path
import cattrs, trio
from tricorn_testing.containers import running_node
from tricorn import failpoints

async def main(directory, name, commands):
    failpoints.arm(os.environ)
    async with running_node(Path(directory), name) as node:
        told = []
        for args, stdin in commands:
            ref = await node.bundle(*args, stdin=stdin)
            print(json.dumps({"ref": cattrs.unstructure(ref)}), flush=True)
            created = await node.runtime.create(ref)
            await node.runtime.start(ref)
            print(json.dumps({"created": cattrs.unstructure(created)}), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

trio.run(main, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
"""


@pytest.fixture(params=["crun", "runc"])
async def node(request: pytest.FixtureRequest, short_path: Path) -> AsyncIterator[Node]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} isn't installed")
    async with running_node(short_path, request.param) as running:
        info = (await running.runtime.capabilities())[request.param]
        if not info.usable:
            pytest.skip(info.reason)
        yield running


async def dying_agent(
    node: Node, commands: list[tuple[list[str], bool]], failpoints: str = ""
) -> list[tuple[BundleRef, Created | None]]:
    """Run containers under an agent that is killed -9 then, and adopt what it had."""
    # or its orphans would come to this process, which is an agent of its own
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0)
    done = await trio.run_process(
        [sys.executable, "-c", AGENT, str(node.directory), node.name, json.dumps(commands)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TRICORN_FAILPOINTS": failpoints},
        capture_stdout=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    refs: list[BundleRef] = []
    created: list[Created] = []
    for line in done.stdout.splitlines():
        told = json.loads(line)
        if "ref" in told:
            refs.append(cattrs.structure(told["ref"], BundleRef))
        else:
            created.append(cattrs.structure(told["created"], Created))
    node.refs.update({ref.id: ref for ref in refs})
    return [(ref, created[index] if index < len(created) else None) for index, ref in enumerate(refs)]


def descriptors() -> dict[str, str]:
    """Return what is open: a thread that was left behind may close its own a moment later."""
    gc.collect()
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


async def only_as_many_descriptors_as(before: dict[str, str]) -> None:
    with trio.move_on_after(WAIT):
        while len(descriptors()) > len(before):
            await trio.sleep(0.1)
    assert len(now := descriptors()) <= len(before), now


def children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


# ---------------------------------------------------------------- the agent dies
async def test_no_exit_code_or_output_is_lost_when_the_agent_is_killed(node):
    quick = [(["sh", "-c", f"echo quick-{n}; exit {n}"], False) for n in range(3)]
    slow = [(["sh", "-c", f"sleep 2; echo slow-{n}; exit {n + 10}"], False) for n in range(3)]
    found = await dying_agent(node, [*quick, *slow])
    with trio.fail_after(WAIT):
        for number, (ref, created) in enumerate(found):
            kind = "quick" if number < 3 else "slow"
            ended = await node.runtime.wait(ref, created)
            assert (ended.code, ended.note) == (number if kind == "quick" else number + 7, "")
            assert [line.text async for line in node.runtime.logs(ref)] == [f"{kind}-{number % 3}"]
            await node.runtime.delete(ref, created)
            assert os.listdir(ref.bundle) == ["config.json"]


async def test_stdin_stays_open_over_the_agent_s_death_and_can_be_closed_after(node):
    [(ref, created)] = await dying_agent(node, [(["sh", "-c", "cat; exit 8"], True)])
    await trio.sleep(0.2)
    async with node.runtime.attach(ref) as stream:
        await stream.send(b"from the next agent\n")
        await stream.close_stdin()
        with trio.fail_after(WAIT):
            assert [data async for _, data in stream] == [b"from the next agent\n"]
            assert (await node.runtime.wait(ref, created)).code == 8


async def test_an_agent_without_reader_does_not_stop_a_container_with_stdin(node):
    """Output of more than any socket buffer flows although nobody is attached."""
    script = "yes | head -c 3000000; exit 5"
    [(ref, created)] = await dying_agent(node, [(["sh", "-c", script], True)])
    with trio.fail_after(WAIT):
        assert (await node.runtime.wait(ref, created)).code == 5


@pytest.mark.parametrize("place", ["monitor.spawned", "container.created"])
async def test_a_create_cut_short_is_found_and_removed(node, place):
    [(ref, _)] = await dying_agent(node, [(["sleep", "100"], False)], f"{place}=kill")
    with trio.fail_after(WAIT):
        created = await node.runtime.recover_created(ref)
        await node.runtime.delete(ref, created)
    assert find_by_bundle(Bundle.of(ref)) == []
    assert os.listdir(ref.bundle) == ["config.json"]
    assert created is None or not os.path.exists(f"/proc/{created.init.pid}")


async def test_a_create_cut_short_can_be_taken_over_and_started(node):
    [(ref, _)] = await dying_agent(node, [(["sh", "-c", "exit 6"], False)], "monitor.spawned=kill")
    with trio.fail_after(WAIT):
        created = await node.runtime.recover_created(ref)
        assert created is not None
        await node.runtime.start(ref)
        assert (await node.runtime.wait(ref, created)).code == 6


async def test_a_create_cut_short_is_removed_without_looking(node):
    [(ref, _)] = await dying_agent(node, [(["sleep", "100"], False)], "monitor.spawned=kill")
    with trio.fail_after(WAIT):
        await node.runtime.delete(ref, None)
        await trio.sleep(0.3)
    assert find_by_bundle(Bundle.of(ref)) == []
    assert await node.runtime.pids(ref) == []


# ---------------------------------------------------------------- the monitor dies
async def test_the_code_survives_a_killed_monitor(node):
    ref, created = await node.start("sh", "-c", "trap '' PIPE; sleep 1; exit 11")
    os.kill(created.monitor.pid, signal.SIGKILL)
    with trio.fail_after(WAIT):
        ended = await node.runtime.wait(ref, created)
    assert ended.code == 11
    assert "monitor" in ended.note
    await node.runtime.delete(ref, created)
    assert created.init.pid not in children()


async def test_a_monitor_killed_under_another_agent_ends_the_container(node):
    [(ref, created)] = await dying_agent(node, [(["sleep", "100"], False)])
    os.kill(created.monitor.pid, signal.SIGKILL)
    with trio.fail_after(WAIT):
        ended = await node.runtime.wait(ref, created)
    assert ended.code in {137, 255}
    assert ended.note
    assert not os.path.exists(f"/proc/{created.init.pid}/exe")


async def test_what_ended_unseen_is_reported_as_lost(node):
    [(ref, created)] = await dying_agent(node, [(["sleep", "100"], False)])
    os.kill(created.monitor.pid, signal.SIGKILL)
    os.kill(created.init.pid, signal.SIGKILL)
    with trio.fail_after(WAIT):
        while os.path.exists(f"/proc/{created.init.pid}"):
            await trio.sleep(0.05)
        ended = await node.runtime.wait(ref, created)
    assert ended.code == 255
    assert ended.note.startswith("lost")


async def test_an_exec_whose_monitor_is_killed_ends(node):
    ref, _ = await node.start("sleep", "100")
    async with node.runtime.exec(
        ref, "x", node.process(ref, "sleep", "100"), terminal=False, stdin=False
    ) as session:
        [monitor] = find_by_bundle(Bundle.of(ref).exec("x"))
        os.kill(monitor.pid, signal.SIGKILL)
        with trio.fail_after(WAIT):
            ended = await session.wait()
            while os.path.exists(f"/proc/{session.pid}/exe"):
                await trio.sleep(0.02)
    assert ended.code == 255
    assert "monitor" in ended.note


# ---------------------------------------------------------------- leaving things behind
async def test_a_writer_left_behind_does_not_hold_an_exec(node, monkeypatch):
    monkeypatch.setattr("tricorn.limits.EXEC_DRAIN", 0.5)
    ref, _ = await node.start("sleep", "100")
    with trio.fail_after(WAIT):
        code, out, _ = await node.exec(ref, "sh", "-c", "echo first; setsid sleep 100 & exit 3")
    assert (code, out) == (3, b"first\n")


@pytest.mark.slow
async def test_two_hundred_aborted_execs_leave_nothing(node):
    ref, _ = await node.start("sleep", "1000")
    await node.exec(ref, "true")
    before, pids, own = descriptors(), await node.runtime.pids(ref), children()
    limiter = trio.CapacityLimiter(8)

    async def abort(number: int) -> None:
        async with limiter:
            terminal = number % 3 == 0
            with trio.move_on_after(0.002 * (number % 40)):
                async with node.runtime.exec(
                    ref,
                    f"e{number}",
                    node.process(ref, "cat", terminal=terminal),
                    terminal=terminal,
                    stdin=True,
                ) as session:
                    await session.send(b"x")
                    async for _ in session:
                        pass

    with trio.fail_after(120 * SLOWNESS):
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(abort, number)
    with trio.fail_after(WAIT):
        while sorted(await node.runtime.pids(ref)) != sorted(pids):
            await trio.sleep(0.05)
        while set(children()) - set(own):
            await trio.sleep(0.1)
    await only_as_many_descriptors_as(before)
    assert os.listdir(f"{ref.bundle}/exec") == []


async def test_aborted_attaches_and_followed_logs_leave_no_descriptor(node):
    ref, _ = await node.start("sleep", "1000", terminal=True)
    async with node.runtime.attach(ref):
        pass
    before = descriptors()
    for _ in range(50):
        with trio.move_on_after(0.001):
            async with node.runtime.attach(ref) as stream:
                async for _ in stream:
                    pass
    await only_as_many_descriptors_as(before)


async def test_a_cancelled_create_leaves_nothing(node):
    for delay in (0.0, 0.005, 0.01, 0.02, 0.04):
        ref = await node.bundle("sleep", "100")
        with trio.move_on_after(delay) as scope:
            await node.runtime.create(ref)
        if scope.cancelled_caught:
            assert os.listdir(ref.bundle) == ["config.json"]
            assert find_by_bundle(Bundle.of(ref)) == []
            assert await node.runtime.pids(ref) == []


async def test_a_monitor_without_a_command_line_so_far_is_ended_too(node, monkeypatch):
    """It has none for a moment after it was launched, in which a create may be cancelled."""
    monkeypatch.setattr(conmon, "find_by_bundle", lambda bundle: [])
    for delay in (0.001, 0.003, 0.01, 0.02):
        ref = await node.bundle("sleep", "100")
        with trio.move_on_after(delay) as scope:
            await node.runtime.create(ref)
        if scope.cancelled_caught:
            assert find_by_bundle(Bundle.of(ref)) == []
            assert await node.runtime.pids(ref) == []


# ---------------------------------------------------------------- crowds and names
async def test_many_containers_and_execs_side_by_side(node):
    async def one(number: int) -> None:
        ended, out, _ = await node.run("sh", "-c", f"echo {number}; exit {number}")
        assert (ended.code, out) == (number, str(number).encode())

    ref, _ = await node.start("sleep", "1000")

    async def execute(number: int) -> None:
        assert (await node.exec(ref, "sh", "-c", f"echo {number}; exit {number}")) == (
            number,
            b"%d\n" % number,
            b"",
        )

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
                nursery.start_soon(execute, number)


async def test_the_longest_names_work(node):
    name = "n" * 76
    directory = node.directory / ("d" * 76)
    directory.mkdir()
    async with running_node(directory, node.name, node.rootfs) as deep:
        ref = await deep.bundle("sh", "-c", "read x; echo got $x", name=name, terminal=True)
        created = await deep.runtime.create(ref)
        async with deep.runtime.attach(ref) as stream:
            await deep.runtime.start(ref)
            await stream.send(b"it\n")
            with trio.fail_after(WAIT):
                assert b"got it" in b"".join([data async for _, data in stream])
        await deep.runtime.delete(ref, created)
        ref, _ = await deep.start("sleep", "100")
        assert await deep.exec(ref, "echo", "x", terminal=True) == (0, b"x\r\n", b"")


async def test_a_process_that_is_gone_is_never_mistaken_for_another(node):
    from attrs import evolve

    ref, created = await node.start("sleep", "100")
    other = evolve(created.init, start_ticks=created.init.start_ticks - 1)
    with pytest.raises(NotFound):
        await node.runtime.kill(ref, other, signal.SIGKILL)
    assert os.path.exists(f"/proc/{created.init.pid}/exe")


async def test_children_get_nothing_of_the_agent_s_environment(node, monkeypatch):
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC", "TRICORN_SECRET"):
        monkeypatch.setenv(name, "x")
    _, created = await node.start("sleep", "100")
    environment = Path(f"/proc/{created.monitor.pid}/environ").read_bytes()
    assert b"x\0" not in environment.replace(b"_OCI", b"")
    assert {entry.split(b"=")[0] for entry in environment.split(b"\0") if entry} == {
        b"PATH", b"LANG", b"_OCI_SYNCPIPE",
    }  # fmt: skip


async def test_a_named_network_namespace_is_joined(node):
    name = f"tct-{os.getpid()}-{uuid4().hex[:6]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        _, created = await node.start("sleep", "100", network=f"/run/netns/{name}")
        assert os.stat(f"/run/netns/{name}").st_ino == os.stat(f"/proc/{created.init.pid}/ns/net").st_ino
        from tricorn.runtime import network

        assert await network.ensure_loopback(created.init.pid)
        assert [
            entry["up"] for entry in await network.interfaces(created.init.pid) if entry["name"] == "lo"
        ] == [True]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
