"""Pieces of blobs are protobuf messages, made without protobuf."""

from __future__ import annotations

import pytest

from tricorn.api.grpc.content import content, piece


@pytest.mark.parametrize("offset", [0, 1, 127, 128, 16383, 16384, 2**32, 2**63 - 1])
@pytest.mark.parametrize("size", [1, 127, 128, 20_000, 1 << 20])
def test_they_are_what_protobuf_makes(offset: int, size: int) -> None:
    data = b"x" * size
    wanted = content.ReadContentResponse(offset=offset, data=data)
    made = b"".join(piece(offset, data).parts)
    assert made == wanted.SerializeToString()
    assert content.ReadContentResponse.FromString(made) == wanted


def test_the_bytes_are_not_copied() -> None:
    data = b"x" * 1000
    assert piece(5, data).parts[1] is data
