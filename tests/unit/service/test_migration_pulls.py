"""A dump that comes by a registry is laid out only if it is the one that was told."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tricorn.errors import DataLoss, InvalidArgument
from tricorn.fs import dump_files
from tricorn.model.checkpoints import DUMP
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.reference import Reference
from tricorn.rules.migration_image import image_of
from tricorn.service.migration_pulls import Pulls


class OneImage:
    """A registry with one image."""

    def __init__(self, archive: bytes) -> None:
        self.archive = archive
        self.dump = Descriptor(DUMP, Digest.of(archive), len(archive))
        self.image, self.document = image_of([self.dump])

    async def fetch(self, _: Reference, __: Descriptor, sink: Any, **___: Any) -> None:
        for at in range(0, len(self.archive), 700):
            await sink.write(self.archive[at : at + 700])

    async def fetch_document(self, _: Reference, __: Descriptor, **___: Any) -> bytes:
        return self.document


@pytest.fixture
def registry(tmp_path: Path) -> OneImage:
    (tmp_path / "from").mkdir()
    (tmp_path / "from/core-1.img").write_bytes(b"core" * 500)
    (tmp_path / "from/inventory.img").write_bytes(b"inventory")
    (tmp_path / "to").mkdir()
    packed = bytearray()
    dump_files.pack(str(tmp_path / "from"), packed.extend)
    return OneImage(bytes(packed))


def pulls(registry: OneImage, heard: list[int]) -> Pulls:
    repository = Reference.parse("registry.example/moves", "via")
    content: Any = None
    made: Any = registry
    return Pulls(content, made, "default", "lease", repository, False, lambda: heard.append(1))


async def test_it_is_laid_out_for_root_alone(registry: OneImage, tmp_path: Path) -> None:
    heard: list[int] = []
    await pulls(registry, heard).dump(registry.image, str(tmp_path / "to"))
    assert heard
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["dump"]
    assert (tmp_path / "to/dump/core-1.img").read_bytes() == b"core" * 500
    assert stat.S_IMODE((tmp_path / "to/dump").stat().st_mode) == 0o700


async def test_other_bytes_are_refused(registry: OneImage, tmp_path: Path) -> None:
    registry.archive = registry.archive.replace(b"core", b"CORE")
    with pytest.raises(DataLoss, match="damaged"):
        await pulls(registry, []).dump(registry.image, str(tmp_path / "to"))


async def test_too_large_a_manifest_is_not_asked_for(registry: OneImage, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="too large"):
        await pulls(registry, []).dump(evolve(registry.image, size=1 << 40), str(tmp_path / "to"))
