"""What every OCI runtime under the Runtime port has to do with a container, from its creation to its end."""
# ruff: noqa: ASYNC110, ASYNC240 - tests look at files and processes directly, and wait by looking again

from __future__ import annotations

import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from tricorn.ports import BundleRef
from tricorn_testing.containers import Node

pytestmark = [pytest.mark.integration, pytest.mark.root]
WAIT = 20


async def until(condition, seconds: float = WAIT) -> None:
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.02)


async def create_and_start(node: Node, ref: BundleRef) -> None:
    """Some runtimes look for the program at creation, some at the start."""
    await node.runtime.create(ref)
    await node.runtime.start(ref)


def cgroups_of(node: Node, ref: BundleRef) -> list[str]:
    found = []
    for parent, names, _ in os.walk("/sys/fs/cgroup"):
        found += [f"{parent}/{name}" for name in names if name == ref.id]
    return found


# ---------------------------------------------------------------- life
@pytest.mark.parametrize("code", [0, 3, 255])
async def test_the_exit_code_is_the_process_own(node, code):
    ended, out, err = await node.run("sh", "-c", f"echo out; echo err >&2; exit {code}")
    assert (ended.code, out, err, ended.note, ended.oom_killed) == (code, b"out", b"err", "", False)


async def test_a_killed_container_exits_with_137_and_is_gone_for_the_next_signal(node):
    ref, created = await node.start("sleep", "100")
    await node.runtime.kill(ref, created.init, signal.SIGKILL)
    with trio.fail_after(WAIT):
        assert (await node.runtime.wait(ref, created)).code == 137
    with pytest.raises(NotFound):
        await node.runtime.kill(ref, created.init, signal.SIGKILL)
    with pytest.raises(NotFound):
        await node.runtime.kill(ref, created.init, signal.SIGTERM, all=True)


async def test_a_signal_reaches_the_process(node):
    ref, created = await node.start("sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done")
    async with aclosing(node.runtime.logs(ref, follow=True)) as lines:
        assert (await anext(lines)).text == "up"
    await node.runtime.kill(ref, created.init, signal.SIGTERM)
    with trio.fail_after(WAIT):
        assert (await node.runtime.wait(ref, created)).code == 7


async def test_kill_all_reaches_every_process(node):
    ref, created = await node.start(
        "sh", "-c", "sleep 100 & setsid sleep 100 & wait", namespaces={"pid": "host"}
    )
    with trio.fail_after(WAIT):
        while len(await node.runtime.pids(ref)) < 3:
            await trio.sleep(0.02)
    await node.runtime.kill(ref, created.init, signal.SIGKILL, all=True)
    with trio.fail_after(WAIT):
        assert (await node.runtime.wait(ref, created)).code == 137
        while await node.runtime.pids(ref):
            await trio.sleep(0.02)


async def test_waiting_twice_and_late_gives_the_same(node):
    ref, created = await node.start("sh", "-c", "exit 9")
    first = await node.runtime.wait(ref, created)
    second = await node.runtime.wait(ref, created)
    assert (first.code, first.at) == (second.code, second.at)


async def test_deletion_by_force_leaves_nothing_and_can_be_repeated(node):
    ref, created = await node.start("sh", "-c", "trap '' TERM; sleep 100 & wait")
    await node.runtime.delete(ref, created)
    assert os.listdir(ref.bundle) == ["config.json"]
    assert cgroups_of(node, ref) == []
    for pid in (created.init.pid, created.monitor.pid):
        assert not os.path.exists(f"/proc/{pid}")
    await node.runtime.delete(ref, created)
    await node.runtime.delete(ref, None)


async def test_a_created_container_can_be_killed_before_its_start(node):
    ref = await node.bundle("sleep", "100")
    created = await node.runtime.create(ref)
    await node.runtime.kill(ref, created.init, signal.SIGKILL)
    with trio.fail_after(WAIT):
        assert (await node.runtime.wait(ref, created)).code == 137
    with pytest.raises(FailedPrecondition):
        await node.runtime.start(ref)
    await node.runtime.delete(ref, created)
    assert cgroups_of(node, ref) == []


async def test_a_bundle_can_be_used_again_after_deletion(node):
    ref = await node.bundle("sh", "-c", "exit 4")
    for _ in range(2):
        created = await node.runtime.create(ref)
        await node.runtime.start(ref)
        assert (await node.runtime.wait(ref, created)).code == 4
        await node.runtime.delete(ref, created)


async def test_a_failing_create_says_why_and_leaves_nothing(node):
    ref = await node.bundle("no-such-program")
    with pytest.raises(InvalidArgument) as caught:
        await create_and_start(node, ref)
    assert "no-such-program" in caught.value.why
    assert "level=" not in caught.value.why
    await node.runtime.delete(ref, None)
    assert os.listdir(ref.bundle) == ["config.json"]
    assert cgroups_of(node, ref) == []


async def test_a_missing_root_file_system_is_a_typed_error(node):
    ref = await node.bundle("true")
    config = Path(ref.bundle, "config.json")
    config.write_text(config.read_text().replace(f"{node.directory}/rootfs", "/nonexistent-rootfs"))
    with pytest.raises(FailedPrecondition):
        await node.runtime.create(ref)
    assert os.listdir(ref.bundle) == ["config.json"]


async def test_an_unknown_runtime_is_unimplemented(node):
    ref = await node.bundle("true")
    other = BundleRef(ref.namespace, ref.id, ref.bundle, ref.log, "youki")
    with pytest.raises(Unimplemented, match="youki"):
        await node.runtime.create(other)


async def test_recovery_of_what_was_created_and_of_nothing(node):
    ref = await node.bundle("sleep", "100")
    assert await node.runtime.recover_created(ref) is None
    created = await node.runtime.create(ref)
    assert await node.runtime.recover_created(ref) == created
    Path(ref.bundle, "processes").unlink()  # the crash came before it was written
    assert await node.runtime.recover_created(ref) == created
    Path(ref.bundle, "processes").unlink()
    await node.runtime.delete(ref, None)
    assert not os.path.exists(f"/proc/{created.init.pid}")


# ---------------------------------------------------------------- control groups
async def test_pausing_stops_it_and_resuming_lets_it_go_on(node):
    ref, _created = await node.start("sh", "-c", "while :; do echo x; sleep 0.01; done")
    await until(lambda: os.path.getsize(ref.log) > 0)
    await node.runtime.pause(ref)
    size = -1
    with trio.fail_after(WAIT):
        while os.path.getsize(ref.log) != size:  # the monitor writes what was said before
            size = os.path.getsize(ref.log)
            await trio.sleep(0.2)
    await node.runtime.resume(ref)
    await until(lambda: os.path.getsize(ref.log) > size)


async def test_a_paused_container_can_be_killed_and_deleted(node):
    ref, created = await node.start("sleep", "100")
    await node.runtime.pause(ref)
    await node.runtime.kill(ref, created.init, signal.SIGKILL)
    with trio.fail_after(WAIT):
        assert (await node.runtime.wait(ref, created)).code == 137
    await node.runtime.delete(ref, created)
    ref, created = await node.start("sleep", "100")
    await node.runtime.pause(ref)
    with trio.fail_after(WAIT):
        await node.runtime.delete(ref, created)
    assert cgroups_of(node, ref) == []


async def test_figures_and_pids_of_a_running_container(node):
    ref, created = await node.start("sh", "-c", "sleep 100 & wait")
    with trio.fail_after(WAIT):
        while len(await node.runtime.pids(ref)) < 2:
            await trio.sleep(0.02)
    figures = await node.runtime.stats(ref)
    assert figures["cpu_seconds"] > 0
    assert figures["pids"] == 2
    assert 0 < figures["memory_bytes"] < 2**30
    await node.runtime.delete(ref, created)
    with pytest.raises(NotFound):
        await node.runtime.stats(ref)
