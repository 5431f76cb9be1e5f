"""Layers through the real extractor: the fork server, the confined child, growth, bombs and kills."""

# ruff: noqa: ASYNC110, ASYNC240 - other processes are watched here, and nothing tells of their changes

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import zstandard

from tricorn import limits
from tricorn.errors import Internal, InvalidArgument, NotFound, ResourceExhausted, TricornError
from tricorn.fs import trees
from tricorn.fs.extraction import ExtractorPool
from tricorn.model.records import Usage
from tricorn.ports import ExtractResult
from tricorn_testing.tar_bytes import END, header, member, padded, pax_records, tree_state

pytestmark = pytest.mark.root


@pytest.fixture
async def pool() -> AsyncIterator[ExtractorPool]:
    async with ExtractorPool() as running:
        yield running


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def server_of(pool: ExtractorPool) -> int:
    assert pool._server is not None
    return pool._server.pid


async def gone(pool: ExtractorPool) -> bool:
    """Wait until the server has no child, zombies included."""
    with trio.move_on_after(60):
        while children_of(server_of(pool)):
            await trio.sleep(0.01)
    return not children_of(server_of(pool))


async def extract(
    pool: ExtractorPool, tmp_path: Path, target: Path, blob: bytes, compression: str = "", form="overlay"
) -> ExtractResult:
    source = tmp_path / "blob"
    source.write_bytes(blob)
    with trio.fail_after(60):
        async with pool.start(str(source), str(target), compression, form) as extraction:
            extraction.grew(len(blob) // 2)
            return await extraction.finish(len(blob))


TAR = (
    member(b"./", kind=b"5", mode=0o755)
    + member(b"etc/", kind=b"5", mode=0o755)
    + member(b"etc/passwd", b"root:x:0:0::/:\n", mode=0o644)
    + member(b"big", random.Random(1).randbytes(1_500_000), uid=1000, gid=1000, mode=0o4755)
    + member(b"dev/null", kind=b"3", major=1, minor=3, mode=0o666)
    + pax_records(
        {b"SCHILY.xattr.security.capability": bytes.fromhex("0100000200040000000000000000000000000000")}
    )
    + member(b"ping", b"x", mode=0o755)
    + pax_records({b"SCHILY.xattr.user.note": b"v"})
    + member(b"link", kind=b"2", link=b"/etc/passwd")
    + member(b"etc/.wh.gone")
    + member(b"etc/.wh..wh..opq")
    + END
    + bytes(5000)
)


def zstd(data: bytes, **parameters: int) -> bytes:
    compressor = zstandard.ZstdCompressor(**parameters).compressobj()
    return compressor.compress(data) + compressor.flush()


FORMS = {
    "plain": ("", TAR),
    "gzip": ("gzip", gzip.compress(TAR)),
    "gzip of many members": ("gzip", b"".join(gzip.compress(TAR[at : at + 99_999]) for at in range(0, len(TAR), 99_999))),
    "gzip padded with zeros": ("gzip", gzip.compress(TAR) + bytes(700_000)),
    "zstd": ("zstd", zstandard.compress(TAR)),
    "zstd stream": ("zstd", zstd(TAR)),
    "zstd of many frames": ("zstd", zstandard.compress(TAR[:70_001]) + zstd(TAR[70_001:])),
    "zstd with skippable frames": ("zstd", b"\x50\x2a\x4d\x18\x05\0\0\0hello" + zstd(TAR) + b"\x5f\x2a\x4d\x18\x03\0\0\0end"),
    "declared wrongly": ("", gzip.compress(TAR)),
    "declared as gzip": ("gzip", TAR),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
async def test_every_compression(pool, tmp_path, target, case):
    compression, blob = FORMS[case]
    result = await extract(pool, tmp_path, target, blob, compression)
    assert result.diff_id == "sha256:" + hashlib.sha256(TAR).hexdigest()
    assert (result.size, result.entries) == (len(TAR), 9)
    assert result.implied == ("dev",)
    assert (target / "etc/passwd").read_bytes() == b"root:x:0:0::/:\n"
    status = (target / "big").stat()
    assert (status.st_uid, status.st_mode & 0o7777, status.st_size) == (1000, 0o4755, 1_500_000)
    assert os.stat(target / "dev/null").st_rdev == os.makedev(1, 3)
    assert os.getxattr(target / "ping", "security.capability")[:4] == bytes.fromhex("01000002")
    assert os.getxattr(target / "etc", "trusted.overlay.opaque") == b"y"
    assert "user.note" in result.warnings[0]
    assert await gone(pool)


async def test_an_empty_layer(pool, tmp_path, target):
    result = await extract(pool, tmp_path, target, gzip.compress(END), "gzip")
    assert (result.size, result.entries, result.implied) == (1024, 0, (".",))
    assert (await extract(pool, tmp_path, target, b"")).size == 0


async def test_removals_need_no_admin_right(pool, tmp_path, target):
    await extract(pool, tmp_path, target, member(b"a/old", b"x") + member(b"b", b"x") + END)
    blob = member(b"a/.wh..wh..opq") + member(b"a/new", b"x") + member(b".wh.b") + END
    await extract(pool, tmp_path, target, blob, "", "apply")
    assert sorted(os.listdir(target)) == ["a"]
    assert os.listdir(target / "a") == ["new"]


async def test_the_file_may_grow_while_it_is_read(pool, tmp_path, target):
    blob = gzip.compress(TAR, 1)
    source = tmp_path / "growing"
    source.touch()
    with trio.fail_after(60):
        async with pool.start(str(source), str(target), "gzip") as extraction:
            with source.open("ab", buffering=0) as file:
                for at in range(0, len(blob), 37_000):
                    offset = at + file.write(blob[at : at + 37_000])
                    file.write(b"")
                    extraction.grew(offset)
                    if at % 5 == 0:
                        await trio.sleep(0.001)
                while extraction.consumed < len(blob):
                    await trio.sleep(0.001)
            assert extraction.consumed == len(blob)
            result = await extraction.finish(len(blob))
    assert result.diff_id == "sha256:" + hashlib.sha256(TAR).hexdigest()


async def test_news_of_growth_never_block(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    with trio.fail_after(60):
        async with pool.start(str(source), str(target), "") as extraction:
            for _ in range(100_000):  # far more than the pipe holds
                extraction.grew(1)
            assert (await extraction.finish(len(TAR))).entries == 9


async def test_bytes_beyond_the_announced_ones_are_not_read(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR + b"garbage of a transfer that was cut" * 1000)
    async with pool.start(str(source), str(target), "") as extraction:
        result = await extraction.finish(len(TAR))
    assert result.size == len(TAR)


async def test_a_file_shorter_than_announced(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR[:5000])
    async with pool.start(str(source), str(target), "") as extraction:
        with pytest.raises(TricornError, match="shorter"):
            await extraction.finish(len(TAR))


@pytest.mark.parametrize(
    ("compression", "blob"),
    [
        ("gzip", gzip.compress(TAR)[:-4]),
        ("gzip", gzip.compress(TAR)[:100_000]),
        ("gzip", gzip.compress(TAR)[:-8] + bytes(8)),
        ("gzip", gzip.compress(TAR) + b"garbage"),
        ("gzip", gzip.compress(TAR)[:5000] + b"\xff" * 50 + gzip.compress(TAR)[5050:]),
        ("zstd", zstd(TAR)[:100_000]),
        ("zstd", zstd(TAR) + b"garbage"),
        ("zstd", zstandard.ZstdCompressor(write_checksum=True).compress(TAR)[:-4] + b"\1\2\3\4"),
        ("", TAR[:1000]),
        ("", b"garbage" * 1000),
        ("gzip", b"garbage" * 1000),
        ("zstd", b"garbage" * 1000),
    ],
)
async def test_damaged_layers_are_refused(pool, tmp_path, target, compression, blob):
    with pytest.raises(InvalidArgument):
        await extract(pool, tmp_path, target, blob, compression)
    assert await gone(pool)
    await extract(pool, tmp_path, target, END)  # the next one is served


async def test_a_hostile_layer_is_refused_by_name(pool, tmp_path, target, outside):
    (target / "already").write_text("there")
    with pytest.raises(InvalidArgument, match=r"\.\./evil"):
        await extract(pool, tmp_path, target, member(b"../evil", b"x") + END)


async def test_symlinks_out_of_the_root_stay_in_the_root(pool, tmp_path, target, outside):
    blob = (
        member(b"l", kind=b"2", link=str(outside).encode())
        + member(b"l/secret", b"evil")
        + member(b"m", kind=b"2", link=b"../../..")
    )
    await extract(pool, tmp_path, target, blob + member(b"m/x", b"evil") + END)
    assert (target / "x").read_bytes() == b"evil"


async def test_the_tightest_gzip_is_no_bomb(pool, tmp_path, target):
    # Deflate packs 1032 fold at most: what the ratio bounds is a defect of the decompressor, or zstd.
    zeros = gzip.compress(bytes(40 << 20))
    blob = gzip.compress(header(b"f", size=40 << 20)) + zeros + gzip.compress(END)
    result = await extract(pool, tmp_path, target, blob, "gzip")
    assert result.size == (40 << 20) + 1536


async def test_a_zstd_bomb_is_refused(tmp_path, target, monkeypatch):
    monkeypatch.setattr(limits, "ZSTD_FREE_OUTPUT", 1 << 20)
    from tricorn.fs import decompress

    blob = zstandard.ZstdCompressor(level=19).compress(bytes(64 << 20))
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        position += count
        return blob[position - count : position]

    produced = 0
    with pytest.raises(ResourceExhausted, match="bomb"):
        for chunk in decompress.chunks(read, "zstd"):
            produced += len(chunk)
    assert produced < 8 << 20


def test_a_gzip_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "DECOMPRESSION_RATIO", 100)
    from tricorn.fs import decompress

    source = iter([gzip.compress(bytes(64 << 20))])
    produced = 0
    with pytest.raises(ResourceExhausted, match="bomb"):
        for chunk in decompress.chunks(lambda _: next(source, b""), "gzip"):
            produced += len(chunk)
    assert produced < 9 << 20


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_zstd_frames_tell_where_they_end(step):
    from tricorn.fs.zstdframes import ZstdFrames

    data = random.Random(3).randbytes(3000) + bytes(500_000)
    for blob in (
        zstd(data), zstandard.compress(data), zstandard.ZstdCompressor(write_checksum=True).compress(data[:100]),
        b"\x53\x2a\x4d\x18\x05\0\0\0hello" + zstandard.compress(b""),
    ):  # fmt: skip
        frames = ZstdFrames()
        ends = []
        for at in range(0, len(blob), step):
            frames.feed(blob[at : at + step])
            if frames.complete:
                ends.append(min(at + step, len(blob)))
        assert ends[-1] == len(blob)
        assert len(ends) == (2 if step == 1 and blob[:1] == b"\x53" else len(ends))
        assert ends[:-1] in ([], [13], [14], [15])


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_the_total_is_bounded(monkeypatch, compression):
    from tricorn.fs import decompress

    monkeypatch.setattr(limits, "LAYER_UNPACKED_SIZE", 3 << 20)
    data = random.Random(2).randbytes(5 << 20)
    blob = {"": data, "gzip": gzip.compress(data, 1), "zstd": zstandard.compress(data, 1)}[compression]
    source = iter([blob[at : at + 1000] for at in range(0, len(blob), 1000)])
    with pytest.raises(ResourceExhausted, match="too large"):
        for chunk in decompress.chunks(lambda _: next(source, b""), compression):
            assert len(chunk) <= decompress.OUTPUT_CHUNK


async def test_a_zstd_window_over_the_limit_is_refused(pool, tmp_path, target):
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    with pytest.raises(ResourceExhausted, match="window"):
        await extract(pool, tmp_path, target, zstd(TAR, compression_params=parameters), "zstd")


async def test_leaving_kills_the_child(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    async with pool.start(str(source), str(target), "") as extraction:
        extraction.grew(5000)
        with trio.fail_after(60):
            while extraction.consumed < 5000:
                await trio.sleep(0.01)
        (child,) = children_of(server_of(pool))
    assert not Path(f"/proc/{child}/fd").exists() or await gone(pool)
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
            (child,) = children_of(server)
            await pool._stop_server()
            assert not Path(f"/proc/{server}").exists()
            while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text():
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
    assert len(processes) == 2
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/exe").exists() for pid in processes):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_a_killed_child_is_told(pool, tmp_path, target):
    source = tmp_path / "blob"
    source.write_bytes(TAR)
    async with pool.start(str(source), str(target), "") as extraction:
        extraction.grew(5000)
        (child,) = children_of(server_of(pool))
        os.kill(child, signal.SIGKILL)
        with trio.fail_after(60), pytest.raises(TricornError, match="died"):
            await extraction.finish(len(TAR))


async def test_a_killed_server_is_replaced(pool, tmp_path, target):
    os.kill(server_of(pool), signal.SIGKILL)
    assert (await extract(pool, tmp_path, target, TAR)).entries == 9
    assert pool.statistics()["server_restarts"] <= 1


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
            (child,) = children_of(server_of(pool))
            while confinement_of(child)[0]["Seccomp"] == "0":  # the other process may be faster
                await trio.sleep(0.01)
        (unpacking,) = children_of(child)
        status, links = confinement_of(child)
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
    assert len(links - files) == 3  # the sockets for the result and to what unpacks, the pipe of free slots
    assert {its_status[key] for key in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert its_status["NoNewPrivs"] == "1"
    assert its_status["Seccomp"] == "2"
    its_files = {link for link in its_links if link.startswith("/")}
    assert its_files == {"/dev/null", str(source)}
    assert len(its_links - its_files) == 3  # the pipe of progress, the socket and the pipe to what applies


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
async def test_a_layer_that_is_unpacked_faster_than_applied_waits_for_free_slots(
    pool, tmp_path, target, compression
):
    """More than all slots hold, of what takes next to no time to unpack and long to write."""
    one = header(b"zeros", size=16 << 20) + bytes(16 << 20)
    many = b"".join(member(b"d/%d" % index, b"x") for index in range(300))
    pack = {"gzip": lambda data: gzip.compress(data, 1), "zstd": zstandard.compress}[compression]
    blob = pack(one + many + END)
    result = await extract(pool, tmp_path, target, blob, compression)
    assert result.diff_id == f"sha256:{hashlib.sha256(one + many + END).hexdigest()}"
    assert (result.size, result.entries) == (len(one + many + END), 301)
    assert (target / "zeros").stat().st_size == 16 << 20


async def test_what_a_layer_takes_on_disk_is_counted_in_passing(pool, tmp_path, target):
    blob = (
        TAR[: -len(END)]
        + b"".join(member(b"many/%d" % index, bytes(index)) for index in range(1, 300, 7))
        + member(b"far/away/file", b"x" * 5000)
        + member(b"same", kind=b"1", link=b"big")
        + member(b"long", kind=b"2", link=b"x" * 200)
        + pax_records({b"SCHILY.xattr.user.note": b"v" * 900})
        + member(b"noted", b"text")
        + member(b"many/", kind=b"5", mode=0o700)
        + END
    )
    result = await extract(pool, tmp_path, target, blob)
    assert result.usage == usage_of(target)


async def test_what_replaces_itself_is_not_counted(pool, tmp_path, target):
    blob = member(b"file", b"one") + member(b"file", b"two") + END
    assert (await extract(pool, tmp_path, target, blob)).usage is None


def usage_of(target: Path) -> Usage:
    parent = os.open(target.parent, os.O_RDONLY)
    try:
        return Usage(*trees.disk_usage(parent, target.name))
    finally:
        os.close(parent)


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
        (child,) = children_of(server_of(pool))
        (unpacking,) = children_of(child)
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
        assert children_of(children_of(server_of(pool))[0])
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


async def test_a_full_file_system_is_told(pool, tmp_path, mounted):
    from tricorn.ports import FilesystemMount

    small = mounted([FilesystemMount("tmpfs", "tmpfs", ("size=1m",))], tmp_path / "blob.d")
    with pytest.raises(ResourceExhausted, match="No space left"):
        await extract(pool, tmp_path, small, TAR)
    few = mounted([FilesystemMount("tmpfs", "tmpfs", ("nr_inodes=10",))], tmp_path / "blob.d")
    with pytest.raises(ResourceExhausted, match="No space left"):
        await extract(pool, tmp_path, few, b"".join(member(b"f%d" % number) for number in range(20)) + END)


async def test_a_layer_of_very_many_entries_stays_within_its_memory(pool, tmp_path, target):
    archive = b"".join(member(b"d%d/.wh..wh..opq" % (number % 50)) for number in range(30_000))
    result = await extract(pool, tmp_path, target, gzip.compress(archive + END, 1), "gzip")
    assert result.entries == 30_000
    assert len(result.implied) == 51


async def test_a_racing_swap_of_directory_and_symlink_stays_inside(pool, tmp_path, target, outside):
    # Nobody else should write into the target; whoever does still gains nothing outside of it.
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.rename(target / "d", target / "aside")
                os.symlink(outside, target / "d")
                os.unlink(target / "d")
                os.rename(target / "aside", target / "d")

    archive = member(b"d/", kind=b"5", mode=0o755)
    for number in range(400):
        archive += member(b"d/%d" % number, b"evil", mode=0o4777) + member(b"d", kind=b"5", mode=0o777)
        archive += member(b"d/secret", kind=b"6", mode=0o777) + member(b"d/.wh.sub")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, swap)
        try:
            for _ in range(4):
                with contextlib.suppress(TricornError):
                    await extract(pool, tmp_path, target, archive + END)
        finally:
            stop.set()
