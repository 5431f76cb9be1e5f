"""Defaults that the labels of a namespace choose; they are looked up once, and again after a change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tricorn.service.defaults import RUNTIME, SNAPSHOTTER, NamespaceDefaults
from tricorn.service.records import NamespaceService
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(str(tmp_path / "db"), HandClock()) as opened:
        yield opened


async def test_labels_choose_and_their_absence_leaves_the_nodes_defaults(db: Database) -> None:
    defaults = NamespaceDefaults(db)
    namespaces = NamespaceService(db, defaults)
    assert await defaults.snapshotter("n", "overlayfs") == "overlayfs"
    assert await defaults.runtime("n") == ""
    await namespaces.create("n", {SNAPSHOTTER: "native", RUNTIME: "runc"})
    assert await defaults.snapshotter("n", "overlayfs") == "native"
    assert await defaults.runtime("n") == "runc"
    await namespaces.update("n", {SNAPSHOTTER: "", RUNTIME: "io.containerd.runc.v2"})
    assert await defaults.snapshotter("n", "overlayfs") == "overlayfs"
    assert await defaults.runtime("n") == ""
    await namespaces.replace_labels("n", {SNAPSHOTTER: "native"})
    assert await defaults.snapshotter("n", "overlayfs") == "native"
    await namespaces.delete("n")
    assert await defaults.snapshotter("n", "overlayfs") == "overlayfs"


async def test_what_is_known_is_not_read_again(db: Database) -> None:
    defaults = NamespaceDefaults(db)
    await NamespaceService(db, defaults).create("n", {})
    await defaults.runtime("n")
    reads = db.statistics()["reads"]
    await defaults.runtime("n")
    await defaults.snapshotter("n", "overlayfs")
    assert db.statistics()["reads"] == reads
