"""What every OCI runtime under the Runtime port has to do, with real processes."""
# ruff: noqa: ASYNC110, ASYNC240 - tests look at files and processes directly, and wait by looking again

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from tricorn.ports import BundleRef
from tricorn_testing.containers import Node, running_node

pytestmark = [pytest.mark.integration, pytest.mark.root]
WAIT = 20


@pytest.fixture(params=["crun", "runc"])
async def node(request: pytest.FixtureRequest, short_path: Path) -> AsyncIterator[Node]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} isn't installed")
    async with running_node(short_path, request.param) as running:
        info = (await running.runtime.capabilities())[request.param]
        if not info.usable:
            pytest.skip(info.reason)
        yield running


async def collect(stream) -> dict[str, bytes]:
    output = {"stdout": b"", "stderr": b""}
    async for kind, data in stream:
        output[kind] += data
    return output


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


# ---------------------------------------------------------------- exec
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


# ---------------------------------------------------------------- stdio of the container
async def test_attaching_before_the_start_loses_nothing(node):
    ref = await node.bundle("sh", "-c", "echo first; echo second >&2; printf third; exit 2")
    created = await node.runtime.create(ref)
    async with node.runtime.attach(ref) as stream:
        await node.runtime.start(ref)
        with trio.fail_after(WAIT):
            assert await collect(stream) == {"stdout": b"first\nthird", "stderr": b"second\n"}
    assert (await node.runtime.wait(ref, created)).code == 2


async def test_binary_output_comes_through_unchanged(node):
    ref = await node.bundle(
        "sh",
        "-c",
        r"printf 'a\000b\n\n\r\n'; dd if=/dev/zero bs=20000 count=1 2>/dev/null; printf '\377\n\n'",
    )
    await node.runtime.create(ref)
    async with node.runtime.attach(ref) as stream:
        await node.runtime.start(ref)
        with trio.fail_after(WAIT):
            output = await collect(stream)
    assert output["stdout"] == b"a\0b\n\n\r\n" + b"\0" * 20000 + b"\xff\n\n"


async def test_stdin_survives_a_detached_client_and_ends_when_closed(node):
    ref = await node.bundle("sh", "-c", "cat; echo done; exit 4", stdin=True)
    created = await node.runtime.create(ref)
    async with node.runtime.attach(ref) as stream:
        await node.runtime.start(ref)
        await stream.send(b"one\n")
    async with node.runtime.attach(ref) as stream:
        await stream.send(b"x" * 100_000 + b"\n")
        await stream.close_stdin()
        with trio.fail_after(WAIT):
            await collect(stream)
            assert (await node.runtime.wait(ref, created)).code == 4
    lines = [line.text async for line in node.runtime.logs(ref)]
    assert lines == ["one", "x" * 100_000, "done"]


async def test_sending_to_a_container_without_stdin_is_refused(node):
    ref, _ = await node.start("sleep", "100")
    async with node.runtime.attach(ref) as stream:
        with pytest.raises(FailedPrecondition):
            await stream.send(b"x")


async def test_a_terminal_takes_input_and_its_size(node):
    ref, created = await node.start("sh", "-c", "read x; stty size; echo got $x; exit 3", terminal=True)
    await node.runtime.resize(ref, 50, 132)
    async with node.runtime.attach(ref) as stream:
        for rows in range(2, 52):  # conmon's control FIFO would mix up many at once
            await stream.resize(rows, rows + 82)
        await stream.send(b"word\n")
        with trio.fail_after(WAIT):
            output = await collect(stream)
    assert output["stdout"].endswith(b"51 133\r\ngot word\r\n")
    assert (await node.runtime.wait(ref, created)).code == 3


async def test_attaching_to_an_ended_container_is_not_found(node):
    ref, created = await node.start("true")
    await node.runtime.wait(ref, created)
    with pytest.raises(NotFound):
        async with node.runtime.attach(ref):
            pass


# ---------------------------------------------------------------- logs
async def test_all_of_a_large_output_is_in_the_log(node):
    ended, out, _ = await node.run("seq", "1", "20000")
    assert ended.code == 0
    assert out.decode().split("\n") == [str(number) for number in range(1, 20001)]


async def test_following_a_log_ends_with_the_container(node):
    ref, _created = await node.start("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done")
    with trio.fail_after(WAIT):
        assert [line.text async for line in node.runtime.logs(ref, follow=True)] == ["1", "2", "3"]
    assert [line.text async for line in node.runtime.logs(ref, tail=2)] == ["2", "3"]
    middle = [line async for line in node.runtime.logs(ref)][1]
    from datetime import datetime

    since = datetime.fromisoformat(middle.timestamp)
    assert [line.text async for line in node.runtime.logs(ref, since=since)] == ["2", "3"]


async def test_rotation_loses_no_line_and_keeps_few_files(node):
    ref, created = await node.start(
        "sh",
        "-c",
        "i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); [ $((i % 2000)) = 0 ] && sleep 0.05; done; true",
        log_size=50_000,
        log_files=60,
    )
    seen: list[str] = []
    rotations = 0

    async def follow() -> None:
        seen.extend([line.text async for line in node.runtime.logs(ref, follow=True)])

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            while os.path.exists(f"/proc/{created.monitor.pid}/exe"):
                rotations += await node.runtime.rotate_logs(ref)
                await trio.sleep(0.01)
    expected = [f"line-{number}" for number in range(20000)]
    assert rotations >= 2
    assert seen == expected
    assert [line.text async for line in node.runtime.logs(ref)] == expected


async def test_rotation_drops_the_oldest_files(node):
    ref, created = await node.start("sh", "-c", "yes | head -c 8000000", log_size=100_000, log_files=3)
    with trio.fail_after(60):
        while os.path.exists(f"/proc/{created.monitor.pid}/exe"):
            await node.runtime.rotate_logs(ref)
            await trio.sleep(0.005)
    assert sorted(os.listdir(os.path.dirname(ref.log))) == ["log", "log.1", "log.2"]


# ---------------------------------------------------------------- what is inside
async def test_the_default_container_is_confined(node):
    script = (
        "grep -E 'CapInh|CapEff|NoNewPrivs|Seccomp:|SigIgn' /proc/self/status; ls /proc/self/fd; "
        "cat /proc/keys; umount /proc 2>&1; unshare -U true 2>&1; ls /sys/devices/virtual/powercap 2>/dev/null; hostname 2>/dev/null; env"
    )
    _ended, out, _ = await node.run("sh", "-c", script, name=f"conf-{node.name}-{os.getpid()}")
    text = out.decode()
    assert "CapInh:\t0000000000000000" in text
    assert "CapEff:\t00000000a80425fb" in text
    assert "NoNewPrivs:\t1" in text
    assert "Seccomp:\t2" in text
    assert "Operation not permitted" in text
    assert "\n0\n1\n2\n3\n" in text  # 3 is the listing's own
    assert "\n4\n" not in text
    assert "TRICORN" not in text
    assert "_OCI" not in text


async def test_containers_after_the_first_have_the_same_filter(node):
    """crun gets the filter that it compiled for the first one."""
    script = "grep Seccomp_filters /proc/self/status; unshare -U true 2>&1; echo done"
    outputs = [(await node.run("sh", "-c", script))[1] for _ in range(3)]
    assert "Seccomp_filters:\t1" in outputs[0].decode()
    assert b"Operation not permitted" in outputs[0]
    assert outputs[0] == outputs[1] == outputs[2]


async def test_a_private_network_has_its_loopback_up(node):
    from tricorn.runtime import network

    _ref, created = await node.start("sleep", "100")
    found = await network.interfaces(created.init.pid)
    assert [(entry["name"], entry["up"]) for entry in found] == [("lo", True)]
    assert "127.0.0.1/8" in found[0]["addresses"]
    assert not await network.ensure_loopback(created.init.pid)


async def test_mounts_devices_sysctls_and_limits_are_there(node, short_path):
    source = short_path / "data"
    source.mkdir()
    (source / "file").write_text("from the node")
    from tricorn.model.requests import Mount, Resources, Rlimit

    script = (
        "cat /data/file; touch /data/new 2>&1; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ulimit -n; "
        "touch /rooted 2>&1; echo x > /scratch/y && cat /scratch/y; ls -l /dev/zed"
    )
    ended, out, err = await node.run(
        "sh", "-c", script,
        mounts=(Mount("/data", str(source), options=("ro",)), Mount("/scratch", type="tmpfs", options=("size=1m",))),
        sysctls={"net.ipv4.ip_unprivileged_port_start": "80"}, rlimits=(Rlimit("nofile", 512, 512),),
        read_only=True, devices=("/dev/zero:/dev/zed:r",),
        resources=Resources(memory=64 * 2**20, pids=50, cpus=0.5, cpu_shares=512),
    )  # fmt: skip
    lines = out.decode().split("\n")
    assert ended.code == 0, err
    assert lines[0].startswith("from the node")
    assert "Read-only file system" in out.decode()
    assert "80" in lines
    assert "512" in lines
    assert "x" in lines
    assert lines[-1].startswith("cr")


async def test_a_container_that_uses_too_much_memory_is_noted_as_such(node):
    from tricorn.model.requests import Resources

    ended, _, _ = await node.run(
        "sh", "-c", "x=$(yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -c 200000000); echo ${#x}",
        resources=Resources(memory=16 * 2**20),
    )  # fmt: skip
    assert ended.oom_killed
    assert ended.code != 0
