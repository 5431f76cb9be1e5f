"""Where containers' networks are on the node."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tricorn.service.network_places import NetworkPlaces

pytestmark = pytest.mark.root


async def test_one_container_comes_while_the_last_other_one_goes(tmp_path: Path) -> None:
    """The directory of their namespace goes with the last of them."""
    places = NetworkPlaces(str(tmp_path))

    async def come_and_go(container: str) -> None:
        for _ in range(100):
            path = await places.make("default", container)
            places.mark_ready("default", container)
            assert places.ready("default", container), path
            await places.remove("default", container)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for name in ("one", "two", "three"):
                nursery.start_soon(come_and_go, name)
    assert places.on_disk() == set()
    assert not (tmp_path / "networks/default").exists()
