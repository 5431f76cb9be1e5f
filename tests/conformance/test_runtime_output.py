"""What every OCI runtime under the Runtime port has to do with what a container reads and writes, and its logs."""
# ruff: noqa: ASYNC240 - tests look at files and processes directly, and wait by looking again

from __future__ import annotations

import os
from datetime import datetime

import pytest
import trio

from tricorn.errors import FailedPrecondition, NotFound

pytestmark = [pytest.mark.integration, pytest.mark.root]
WAIT = 20


async def collect(stream) -> dict[str, bytes]:
    output = {"stdout": b"", "stderr": b""}
    async for kind, data in stream:
        output[kind] += data
    return output


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
