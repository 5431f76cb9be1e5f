"""Layers compressed otherwise: the same bytes inside, the same bytes outside again; damage."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zstandard

from tricorn.errors import InvalidArgument, TricornError
from tricorn.fs.extraction import ExtractorPool
from tricorn.fs.repacking import LayerRepacker
from tricorn_testing.images import LayerBuilder

pytestmark = pytest.mark.root
PLAIN = LayerBuilder().file("etc/motd", b"hello\n" * 200_000).file("random", os.urandom(300_000)).tar()
PACKED = {
    "": PLAIN,
    "gzip": gzip.compress(PLAIN[:1000], mtime=0) + gzip.compress(PLAIN[1000:], mtime=0),  # two members
    "zstd": zstandard.ZstdCompressor().compress(PLAIN),
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repacking")


@pytest.fixture
async def repacker(scratch: Path) -> AsyncIterator[LayerRepacker]:
    async with ExtractorPool() as pool:
        yield LayerRepacker(pool, str(scratch / "scratch"))


async def repack(repacker: LayerRepacker, path: Path, declared: str, compression: str) -> bytes:
    async with repacker.start(str(path), declared, compression) as running:
        data = b""
        while part := await running.read():
            data += part
        result = await running.finish()
        assert running.consumed == len(PACKED[declared])
    assert result.diff_id == f"sha256:{hashlib.sha256(PLAIN).hexdigest()}"
    assert result.size == len(PLAIN)
    return data


def unpacked(data: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if compression else data


async def test_every_compression_becomes_every_other(repacker: LayerRepacker, scratch: Path) -> None:
    for declared, blob in PACKED.items():
        path = scratch / "blob"
        path.write_bytes(blob)
        for compression in PACKED:
            first = await repack(repacker, path, declared, compression)
            assert unpacked(first, compression) == PLAIN
            assert await repack(repacker, path, declared, compression) == first
    assert list((scratch / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("blob", "error"),
    [
        (PACKED["gzip"][:-4000], InvalidArgument),
        (PACKED["zstd"][:-4000], InvalidArgument),
        (b"\x28\xb5\x2f\xfd" + b"junk" * 100, TricornError),
    ],
)
async def test_damaged_layers(
    repacker: LayerRepacker, scratch: Path, blob: bytes, error: type[Exception]
) -> None:
    path = scratch / "damaged"
    path.write_bytes(blob)
    async with repacker.start(str(path), "gzip", "") as running:
        while await running.read():
            pass
        with pytest.raises(error):
            await running.finish()


async def test_a_missing_blob(repacker: LayerRepacker, scratch: Path) -> None:
    with pytest.raises(TricornError):
        async with repacker.start(str(scratch / "nothing"), "gzip", "zstd"):
            pass
