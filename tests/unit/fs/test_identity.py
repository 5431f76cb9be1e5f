"""The UUID of an installation is made once, and survives a crash in its making."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from uuid import UUID

import pytest
import trio

from tricorn.errors import Internal
from tricorn.fs.identity import installation_uuid


async def test_it_is_made_once(tmp_path: Path) -> None:
    made = await installation_uuid(str(tmp_path))
    assert str(UUID(made)) == made
    assert await installation_uuid(str(tmp_path)) == made
    assert stat.S_IMODE((tmp_path / "uuid").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["uuid"]


async def test_two_first_calls_make_one(tmp_path: Path) -> None:
    seen: set[str] = set()

    async def ask() -> None:
        seen.add(await installation_uuid(str(tmp_path)))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask)
    assert len(seen) == 1


@pytest.mark.parametrize("left", ["", "12345", "\xff"])
async def test_half_of_one_is_made_anew(tmp_path: Path, left: str) -> None:
    (tmp_path / "uuid").write_text(left, encoding="latin-1")
    (tmp_path / "uuid.new").write_text("left by a crash")
    made = await installation_uuid(str(tmp_path))
    assert (tmp_path / "uuid").read_text() == f"{made}\n"


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Internal, match="could not be kept"):
        await installation_uuid(str(tmp_path / "nowhere"))
