"""Layers for the real extractor, and a look at its processes."""

# ruff: noqa: ASYNC110 - other processes are watched here, and nothing tells of their changes

from __future__ import annotations

import random
from pathlib import Path

import trio
import zstandard

from tricorn.fs.extraction import ExtractorPool
from tricorn.ports import ExtractResult
from tricorn_testing.tar_bytes import END, member, pax_records


def children_of(pid: int) -> list[int]:
    """Return them in the order of their births: of a layer, what unpacks it comes before what applies it."""
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
