"""What layers are packed with: the same bytes each time, the dense kind for what is kept long."""

from __future__ import annotations

import functools
import hashlib

import pytest
import zstandard

from tricorn.fs.compress import compressor

_STEP = 300_000


@functools.cache
def _text(size: int) -> bytes:
    """Return something like a layer's text: lines of words that come again, in no regular order."""
    words = [hashlib.sha256(b"%d" % number).hexdigest()[:7].encode() for number in range(2000)]
    seed = hashlib.shake_256(b"order").digest(size // 4)
    pairs = zip(seed[::2], seed[1::2], strict=True)
    return b" ".join(words[(high << 8 | low) % len(words)] for high, low in pairs)


def _packed(data: bytes, kind: str, step: int, *, dense: bool = False) -> bytes:
    packer = compressor(kind, dense=dense)
    parts = [packer.compress(data[start : start + step]) for start in range(0, len(data), step)]
    return b"".join([*parts, packer.flush()])


@pytest.mark.parametrize(("kind", "dense"), [("gzip", False), ("zstd", False), ("zstd", True)])
def test_the_same_bytes_each_time(kind: str, dense: bool) -> None:
    data = _text(3 << 20)
    packed = _packed(data, kind, _STEP, dense=dense)
    assert packed == _packed(data, kind, _STEP, dense=dense)
    if kind == "zstd":  # and however the archive is cut
        assert packed == _packed(data, kind, len(data), dense=dense)


def test_a_dense_layer_is_smaller_and_a_quick_one_not_above_gzip() -> None:
    data = _text(2 << 20)
    sizes = [len(_packed(data, "zstd", _STEP, dense=dense)) for dense in (False, True)]
    assert sizes[1] < sizes[0] < len(_packed(data, "gzip", _STEP))


def test_zstd_carries_a_checksum() -> None:
    frame = zstandard.get_frame_parameters(_packed(b"x" * 1000, "zstd", _STEP))
    assert frame.has_checksum
