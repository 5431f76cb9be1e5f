"""Bundle directories: made and removed side by side."""

from __future__ import annotations

from pathlib import Path

import trio

from tricorn.service.bundles import Bundles


async def test_the_last_of_a_namespace_may_go_while_the_next_comes(tmp_path: Path) -> None:
    bundles = Bundles(str(tmp_path / "root"), str(tmp_path / "state"), 0, 0)

    async def come_and_go(name: str) -> None:
        for _ in range(100):
            await bundles.make("ns", name, ())
            await bundles.remove("ns", name, logs=True)

    async with trio.open_nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(come_and_go, name)
    assert bundles.on_disk() == set()
    assert not (tmp_path / "state/bundles/ns").exists()
