"""Snapshots as desired states: a second request changes nothing, a plan nothing at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tricorn.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tricorn.fs.native import NativeSnapshotter
from tricorn.fs.overlay import OverlaySnapshotter
from tricorn.model.requests import Change, SnapshotDesired
from tricorn.service.snapshot_states import SnapshotStates
from tricorn.service.snapshots import SnapshotService
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

pytestmark = pytest.mark.root


class Asked:
    """Puts snapshots of one namespace, each request as a plan first."""

    def __init__(self, states: SnapshotStates, snapshotter: str) -> None:
        self.states = states
        self.snapshotter = snapshotter

    async def __call__(self, key: str, **wanted) -> Change:
        desired = SnapshotDesired(**wanted)
        planned = await self.states.put("n", self.snapshotter, key, desired, plan=True)
        done = await self.states.put("n", self.snapshotter, key, desired)
        assert (planned.changed, planned.actions, planned.before) == (done.changed, done.actions, done.before)
        plain = {name: value for name, value in done.after.items() if name != "mounts"}
        assert {name: value for name, value in planned.after.items() if name != "mounts"} == plain
        return done


@pytest.fixture(params=["overlayfs", "native"])
async def put(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Asked]:
    async with Database.open(str(tmp_path / "db" / "tricorn.db"), HandClock()) as db:
        backends = {
            "overlayfs": OverlaySnapshotter(str(tmp_path / "overlayfs")),
            "native": NativeSnapshotter(str(tmp_path / "native")),
        }
        yield Asked(SnapshotStates(db, SnapshotService(db, backends, "overlayfs")), request.param)


def verbs(change: Change) -> list[str]:
    return [action.verb for action in change.actions]


async def test_a_layer_is_made_once(put: Asked) -> None:
    made = await put("work", labels={"a": "1"})
    assert (verbs(made), made.before, made.after["kind"]) == (["prepare"], {}, "active")
    assert made.after["mounts"]
    assert not (await put("work", labels={"a": "1"})).changed
    committed = await put("base", state="committed", source="work", labels={"b": "2"})
    assert (verbs(committed), committed.after["labels"]) == (["commit"], {"b": "2"})
    assert "mounts" not in committed.after
    assert not (await put("base", state="committed", source="work")).changed
    look = await put("look", state="view", parent="base")
    assert (verbs(look), look.after["parent"]) == (["view"], "base")
    assert not (await put("look", state="view")).changed  # whatever it stands on


async def test_labels_are_merged(put: Asked) -> None:
    await put("work", labels={"a": "1", "b": "2"})
    changed = await put("work", labels={"b": "", "c": "3"})
    assert (verbs(changed), changed.after["labels"]) == (["update"], {"a": "1", "c": "3"})
    assert changed.before["labels"] == {"a": "1", "b": "2"}
    assert not (await put("work", labels={"b": ""})).changed


async def test_what_is_in_the_way_is_told(put: Asked) -> None:
    await put("work")
    await put("other")
    with pytest.raises(AlreadyExists, match="is active, not view"):
        await put("work", state="view")
    await put("base", state="committed", source="work")
    with pytest.raises(AlreadyExists, match="not on base"):
        await put("other", parent="base")
    with pytest.raises(NotFound, match="does not exist"):
        await put("more", state="committed", source="work")
    with pytest.raises(NotFound, match="does not exist") as caught:
        await put("more", state="committed")
    assert caught.value.field == "source"
    with pytest.raises(FailedPrecondition, match="is committed"):
        await put("more", state="committed", source="base")
    with pytest.raises(InvalidArgument, match="is active"):
        await put("more", parent="other")
    with pytest.raises(NotFound):
        await put("more", parent="nothing")


async def test_removal_names_what_stands_on_it(put: Asked) -> None:
    await put("work")
    await put("base", state="committed", source="work")
    await put("top", parent="base")
    with pytest.raises(FailedPrecondition, match="1 children") as caught:
        await put("base", state="absent")
    assert caught.value.why == "top"
    assert verbs(await put("top", state="absent")) == ["remove"]
    assert (await put("base", state="absent")).before["kind"] == "committed"
    assert not (await put("base", state="absent")).changed
