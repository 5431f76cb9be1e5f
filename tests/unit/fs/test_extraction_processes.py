"""The extractor's processes: the fork server and its confined children, how they end, what they may do."""

# ruff: noqa: ASYNC110, ASYNC240 - other processes are watched here, and nothing tells of their changes

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from tricorn.errors import Internal, InvalidArgument, NotFound, TricornError
from tricorn.fs import extraction
from tricorn.fs.copying import FileCopier
from tricorn.fs.extraction import ExtractorPool
from tricorn_testing.extracting import TAR, children_of, extract, gone, server_of
from tricorn_testing.tar_bytes import padded, tree_state

pytestmark = pytest.mark.root


async def test_leaving_kills_the_child(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    async with pool.start(str(source), str(target), "") as extraction:
        extraction.grew(5000)
        with trio.fail_after(60):
            while extraction.consumed < 5000:
                await trio.sleep(0.01)
        processes = children_of(server_of(pool))
    assert not any(Path(f"/proc/{pid}/fd").exists() for pid in processes) or await gone(pool)
    assert await gone(pool)
    assert extraction.consumed == 0


async def test_cancellation_kills_the_child(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    with trio.CancelScope() as scope:
        async with pool.start(str(source), str(target), "") as extraction:
            extraction.grew(5000)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert await gone(pool)
    assert pool.statistics() == {
        "running": 0,
        "waiting": 0,
        "started": 1,
        "finished": 0,
        "server_restarts": 0,
    }


async def test_the_end_of_the_pool_ends_server_and_children(tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    with trio.fail_after(30):
        async with ExtractorPool() as pool:
            server = server_of(pool)
        assert not Path(f"/proc/{server}").exists()
        async with ExtractorPool() as pool, pool.start(str(source), str(target), "") as extraction:
            extraction.grew(100)
            server = server_of(pool)
            processes = children_of(server)
            await pool._stop_server()
            assert not Path(f"/proc/{server}").exists()
            while any(Path(f"/proc/{pid}/exe").exists() for pid in processes):
                await trio.sleep(0.01)


AGENT = """
import sys, trio
from pathlib import Path
from tricorn.fs import trees
from tricorn.fs.extraction import ExtractorPool
async def main():
    async with ExtractorPool() as pool, pool.start(sys.argv[1], sys.argv[2], "") as extraction:
        extraction.grew(5000)
        while extraction.consumed < 5000:
            await trio.sleep(0.01)
        server = pool._server.pid
        child = Path(f"/proc/{server}/task/{server}/children").read_text()
        print(f"{server} {child}", file=sys.stderr, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def test_the_death_of_the_agent_ends_server_and_children(tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    command = [sys.executable, "-c", AGENT, str(source), str(target)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as agent:
        assert agent.stderr is not None
        processes = [int(word) for word in agent.stderr.readline().split()]
        agent.kill()
    assert len(processes) == 3
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/exe").exists() for pid in processes):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_a_killed_child_is_told(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    async with pool.start(str(source), str(target), "") as extraction:
        extraction.grew(5000)
        _, child = children_of(server_of(pool))
        os.kill(child, signal.SIGKILL)
        with trio.fail_after(60), pytest.raises(TricornError, match="died"):
            await extraction.finish(len(TAR))


async def test_a_killed_server_is_replaced(pool, tmp_path, target):
    os.kill(server_of(pool), signal.SIGKILL)
    assert (await extract(pool, tmp_path, target, TAR)).entries == 9
    assert pool.statistics()["server_restarts"] <= 1


@pytest.fixture
async def slow_pool(monkeypatch):
    """A pool whose server takes its time between making a child and telling of it; children that place files
    do nothing, and don't end.
    """
    slow = (
        "import os, time; now = os.pidfd_open; os.pidfd_open = lambda pid: (time.sleep(0.2), now(pid))[1]; "
        "from tricorn.fs import copy_child; copy_child._place = lambda *_: max(iter(int, 1)); "
        "from tricorn.fs.extractor_child"
    )
    program = extraction._PROGRAM.replace("from tricorn.fs.extractor_child", slow)
    monkeypatch.setattr(extraction, "_PROGRAM", program)
    async with ExtractorPool() as pool:
        yield pool
        assert pool.statistics()["server_restarts"] == 0


async def test_a_child_may_be_quicker_than_the_server_that_tells_of_it(slow_pool, tmp_path, target):
    assert (await extract(slow_pool, tmp_path, target, TAR)).entries == 9
    root = os.open(target, os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(NotFound, match="there is no /nope"):
        await FileCopier(slow_pool).look(root, "/nope", follow=False, digest=False)
    os.close(root)
    assert await gone(slow_pool)


async def test_who_gives_up_before_he_is_told_of_the_child_leaves_none(slow_pool, target):
    root = os.open(target, os.O_PATH | os.O_DIRECTORY)
    copier = FileCopier(slow_pool)
    await copier.look(root, "/", follow=False, digest=False)  # the server is up
    with trio.move_on_after(0.1) as scope:
        async with copier.place(root, "/", {}):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in children_of(server_of(slow_pool)))
    os.close(root)


async def test_layers_go_side_by_side_and_no_more_than_the_limit(tmp_path):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    peak = 0
    async with ExtractorPool(parallel=2) as pool:

        async def one(name: str) -> None:
            nonlocal peak
            directory = tmp_path / name
            directory.mkdir()
            async with pool.start(str(source), str(directory), "") as extraction:
                peak = max(peak, pool.statistics()["running"])
                await trio.sleep(0.05)
                await extraction.finish(len(TAR))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for index in range(6):
                    nursery.start_soon(one, str(index))
        assert pool.statistics()["finished"] == 6
    assert peak == 2
    states = [tree_state(tmp_path / str(index)) for index in range(6)]
    assert all(state.keys() == states[0].keys() for state in states)


async def test_the_child_holds_nothing_and_may_do_little(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    async with pool.start(str(source), str(target), "", "apply") as extraction:
        extraction.grew(2000)
        with trio.fail_after(30):
            while extraction.consumed < 2000:
                await trio.sleep(0.01)
            unpacking, child = children_of(server_of(pool))
            while any(
                confinement_of(pid)[0]["Seccomp"] == "0" for pid in (unpacking, child, *children_of(child))
            ):
                await trio.sleep(0.01)  # some are faster than others
        status, links = confinement_of(child)
        filler = [(confinement_of(pid)[0], os.readlink(f"/proc/{pid}/root")) for pid in children_of(child)]
        its_status, its_links = confinement_of(unpacking)
        assert os.readlink(f"/proc/{child}/root") == os.readlink(f"/proc/{unpacking}/root") == str(target)
        await extraction.finish(len(TAR))
    # chown, dac_override, fowner, fsetid, mknod, setfcap
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 | 2 | 8 | 16 | 1 << 27 | 1 << 31
    assert int(status["CapBnd"], 16) & ~int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    files = {link for link in links if link.startswith("/")}
    assert {link for link in files if not link.startswith(f"{target}/")} == {"/dev/null", str(target)}
    # The sockets for the result and to what unpacks, the pipe of free slots; what fills files has one table of
    # descriptors with it: a handle of its process, both ends of its socket.
    assert len(links - files) == (6 if filler else 3)
    assert {its_status[key] for key in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert its_status["NoNewPrivs"] == "1"
    assert its_status["Seccomp"] == "2"
    for filling, root in filler:
        assert root == str(target)
        assert {filling[key] for key in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
        assert (filling["NoNewPrivs"], filling["Seccomp"]) == ("1", "2")
    its_files = {link for link in its_links if link.startswith("/")}
    assert its_files == {"/dev/null", str(source)}
    assert len(its_links - its_files) == 3  # the pipe of progress, the socket and the pipe to what applies


def confinement_of(child: int) -> tuple[dict[str, str], set[str]]:
    """Return what the kernel says of a process, and what its descriptors are."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
    return status, {os.readlink(f"/proc/{child}/fd/{fd}") for fd in os.listdir(f"/proc/{child}/fd")}


async def test_an_unpacking_process_that_is_killed_is_told_and_leaves_nothing(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    async with pool.start(str(source), str(target), "", "apply") as extraction:
        extraction.grew(2000)
        with trio.fail_after(30):
            while extraction.consumed < 2000:
                await trio.sleep(0.01)
        unpacking, _ = children_of(server_of(pool))
        os.kill(unpacking, signal.SIGKILL)
        with pytest.raises(Internal, match="unpacking of the layer died"):
            await extraction.finish(len(TAR))
    assert await gone(pool)


async def test_a_killed_extractor_takes_its_unpacking_process_with_it(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    async with pool.start(str(source), str(target), "", "apply") as extraction:
        extraction.grew(2000)
        with trio.fail_after(30):
            while extraction.consumed < 2000:
                await trio.sleep(0.01)
        unpacking, child = children_of(server_of(pool))
        os.kill(child, signal.SIGKILL)  # the agent is still there, and its end of everything open
        with trio.fail_after(30):
            while Path(f"/proc/{unpacking}/exe").exists():
                await trio.sleep(0.01)
    assert await gone(pool)


async def test_wrong_requests_are_told(pool, tmp_path, target):
    with pytest.raises(InvalidArgument, match="compression"):
        async with pool.start("/nonexistent", str(target), "xz"):
            pass
    with pytest.raises(NotFound):
        async with pool.start(str(tmp_path / "missing"), str(target), ""):
            pass
    (tmp_path / "s").symlink_to(target)
    source = tmp_path / "blob"
    source.touch()
    with pytest.raises(TricornError):
        async with pool.start(str(source), str(tmp_path / "s"), ""):
            pass
    assert padded(b"") == b""
