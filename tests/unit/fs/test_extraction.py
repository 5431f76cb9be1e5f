"""Layers through the real extractor: compressions, growth, damage, bombs, what is counted."""

# ruff: noqa: ASYNC110 - other processes are watched here, and nothing tells of their changes

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import random
import threading
from pathlib import Path

import pytest
import trio
import zstandard

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted, TricornError
from tricorn.fs import trees
from tricorn.model.records import Usage
from tricorn_testing.extracting import TAR, extract, gone, zstd
from tricorn_testing.tar_bytes import END, header, member, pax_records

pytestmark = pytest.mark.root


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
