"""The file by which a cordon outlives the agent, where it can't be written or read."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from tricorn.errors import ResourceExhausted, TricornError
from tricorn.service.cordon import FILE, Cordon
from tricorn_testing.clock import HandClock


async def test_a_cordon_that_finds_no_room_is_refused_and_the_node_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    cordon = await Cordon.load(str(tmp_path), HandClock())
    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(ResourceExhausted, match=r"can't be kept in .*No space left") as caught:
            await cordon.put("upgrade")
    assert "free space" in caught.value.hint
    cordon.require_open("a container")
    assert not (await Cordon.load(str(tmp_path), HandClock())).view.cordoned
    assert (await cordon.put("upgrade")).changed


async def test_what_is_in_the_way_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    cordon = await Cordon.load(str(tmp_path), HandClock())
    assert cordon.view.cordoned
    for change in (cordon.lift(), cordon.put("upgrade")):
        with pytest.raises(TricornError, match=f"can't be kept in {tmp_path}/{FILE}"):
            await change


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"reason": "x"}', b'{"since": 5, "reason": ""}', b'{"since": "x", "reason": ""}', b"\xff"]
)  # fmt: skip
async def test_a_file_that_can_not_be_read_counts_and_can_be_lifted(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE).write_bytes(text)
    cordon = await Cordon.load(str(tmp_path), HandClock())
    assert cordon.view.cordoned
    shown: dict[str, Any] = cordon.facts()
    assert FILE in shown["reason"]
    assert (await cordon.lift()).changed
    assert not (await Cordon.load(str(tmp_path), HandClock())).view.cordoned
