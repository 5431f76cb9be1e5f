"""Damaged image archives: a typed error or a clean end, bounded memory, nothing left in work."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from attrs import define, field

from tricorn.errors import AlreadyExists, FailedPrecondition, TricornError
from tricorn.model.ids import Digest
from tricorn.service.archive_reader import read_archive

ROUNDS = 400


@define
class Writer:
    store: Store
    ref: str
    expected: Digest | None
    data: bytearray = field(factory=bytearray)

    @property
    def offset(self) -> int:
        return len(self.data)

    async def write(self, data: bytes) -> None:
        self.data += data

    async def commit(
        self, *, size: int, expected: Digest | None, labels: Mapping[str, str] | None = None
    ) -> None:
        digest = Digest.of(bytes(self.data))
        if len(self.data) != size or (expected and expected != digest):
            raise FailedPrecondition("other bytes than said")
        self.store.blobs[digest] = bytes(self.data)
        self.store.open.discard(self.ref)


@define
class Store:
    """As much of a content store as the reader needs."""

    blobs: dict[Digest, bytes] = field(factory=dict)
    open: set[str] = field(factory=set)

    @asynccontextmanager
    async def writer(
        self, namespace: str, ref: str, *, total: int = 0, expected: Digest | None = None, lease: str = ""
    ) -> AsyncIterator[Writer]:
        if expected in self.blobs:
            raise AlreadyExists("it is there")
        self.open.add(ref)
        yield Writer(self, ref, expected)

    async def abort(self, namespace: str, ref: str) -> None:
        self.open.discard(ref)


def archive(noise: random.Random) -> bytes:
    """A small OCI layout with long names, links and a blob, in one of tar's forms."""
    buffer = io.BytesIO()
    form = noise.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        blob = noise.randbytes(noise.randrange(5000))
        files = {
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            "index.json": json.dumps({"schemaVersion": 2, "manifests": []}).encode(),
            f"blobs/sha256/{Digest.of(blob).hex}": blob,
            "x" * 60 + "/layer.tar": b"layer",
        }
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "oci-layout"
        tar.addfile(link)
    return buffer.getvalue()


def damaged(data: bytes, noise: random.Random) -> bytes:
    """Flip, cut, repeat or move some of it."""
    changed = bytearray(data)
    for _ in range(noise.randrange(1, 6)):
        at, count = noise.randrange(len(changed)), noise.randrange(1, 600)
        match noise.randrange(4):
            case 0:
                changed[at] ^= 1 << noise.randrange(8)
            case 1:
                del changed[at : at + count]
            case 2:
                changed[at:at] = changed[at : at + count]
            case _:
                changed[at : at + 12] = noise.randbytes(12)
        if not changed:
            break
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
async def test_damaged_archives(seed: int) -> None:
    noise = random.Random(seed)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(ROUNDS // 4):
        store = Store()
        data = damaged(archive(noise), noise)
        rest = [data[start : start + 700] for start in range(0, len(data), 700)]

        async def receive(rest: list[bytes] = rest) -> bytes:
            return rest.pop(0) if rest else b""

        try:
            found = await read_archive(store, "n", "lease", receive)  # type: ignore[arg-type]
        except TricornError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            assert all(part.digest in store.blobs for part in found.parts.values())
        assert not store.open
    assert outcomes["refused"] > 10, outcomes
