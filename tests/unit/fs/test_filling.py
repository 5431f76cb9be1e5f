"""Files filled by a process beside the one that makes them: what comes of it, and of its end."""

# ruff: noqa: ASYNC110, ASYNC240 - other processes are watched here, and nothing tells of their changes

from __future__ import annotations

import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tricorn.errors import Internal, ResourceExhausted
from tricorn.fs.extraction import ExtractorPool
from tricorn.fs.running_extraction import RunningExtraction
from tricorn.ports import FilesystemMount
from tricorn_testing.extracting import children_of, extract, gone, server_of
from tricorn_testing.tar_bytes import END, member, tree_state

pytestmark = pytest.mark.root

SIZES = (0, 1, 511, 512, 5000, 40_000, 300_000)  # the last one takes more than one chunk


HALF = b"".join(member(b"f%d" % number, b"x" * 3000) for number in range(200))


@pytest.fixture
async def pool() -> AsyncIterator[ExtractorPool]:
    async with ExtractorPool(filled_beside=0, filled_after=0) as running:
        yield running


def tree(seed: int, count: int) -> bytes:
    """Files of many sizes, replaced, linked and removed as they come."""
    rng = random.Random(seed)
    parts = [
        member(name, kind=b"5", mode=0o755, mtime=1)
        for name in (b"./", *(b"d%d" % each for each in range(9)))
    ]
    names: list[bytes] = []
    for number in range(count):
        name = b"d%d/f%d" % (rng.randrange(9), number)
        what = rng.randrange(12)
        if names and what == 0:
            parts.append(member(name, kind=b"1", link=rng.choice(names)))
        elif names and what == 1:
            name = rng.choice(names)  # once more
            parts.append(member(name, rng.randbytes(600), mtime=number))
        elif what == 2:
            parts.append(member(name, rng.randbytes(50), uid=number, mode=0o4711, mtime=number))
        else:
            mode = rng.choice((0o600, 0o444, 0o755))
            parts.append(member(name, rng.randbytes(rng.choice(SIZES)), mode=mode, mtime=number * 1000))
        names.append(name)
    return b"".join(parts) + END


@pytest.mark.parametrize("seed", range(4))
async def test_the_same_tree_as_from_one_process(pool, tmp_path, target, seed):
    archive = tree(seed, 400)
    beside = await extract(pool, tmp_path, target, archive)
    other = tmp_path / "inside" / "other"
    other.mkdir(mode=0o755)
    async with ExtractorPool() as plain:
        alone = await extract(plain, tmp_path, other, archive)
    assert beside == alone
    assert tree_state(target) == tree_state(other)
    assert await gone(pool)


async def test_no_more_files_are_open_than_may_be(pool, tmp_path, target):
    archive = b"".join(member(b"f%d" % number, b"x") for number in range(5000)) + END
    assert (await extract(pool, tmp_path, target, archive)).entries == 5000
    assert {(target / name).stat().st_size for name in os.listdir(target)} == {1}


async def test_a_full_disk_names_the_file(pool, tmp_path, target, mounted):
    mounted([FilesystemMount("tmpfs", "tmpfs", ("size=64k",))], target)
    archive = b"".join(member(b"f%d" % number, bytes(3000)) for number in range(60)) + END  # a chunk
    with pytest.raises(ResourceExhausted, match=r"f1\d: No space"):  # 16 pages or so
        await extract(pool, tmp_path, target, archive)
    assert await gone(pool)


@asynccontextmanager
async def half_done(
    pool: ExtractorPool, tmp_path: Path, target: Path
) -> AsyncIterator[tuple[RunningExtraction, int, int]]:
    """An extraction that waits for the second half of its layer, what makes its files and what fills them."""
    source = tmp_path / "blob"
    source.write_bytes(HALF + HALF + END)
    async with pool.start(str(source), str(target), "") as extraction:
        extraction.grew(len(HALF))
        with trio.fail_after(60):
            while extraction.consumed < len(HALF):
                await trio.sleep(0.01)
            _, applier = children_of(server_of(pool))
            while not children_of(applier):
                await trio.sleep(0.01)
        yield extraction, applier, children_of(applier)[0]


async def test_a_process_that_is_killed_is_told(pool, tmp_path, target):
    async with half_done(pool, tmp_path, target) as (extraction, _, filling):
        os.kill(filling, signal.SIGKILL)
        with trio.fail_after(60), pytest.raises(Internal, match="fills a layer's files died"):
            await extraction.finish(len(HALF + HALF + END))
    assert await gone(pool)


async def test_it_ends_with_the_one_that_makes_the_files(pool, tmp_path, target):
    async with half_done(pool, tmp_path, target) as (_, applier, filling):
        os.kill(applier, signal.SIGKILL)
        with trio.fail_after(60):
            while Path(f"/proc/{filling}/exe").exists():
                await trio.sleep(0.01)
    assert await gone(pool)
