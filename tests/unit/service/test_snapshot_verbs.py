"""What clients may do with snapshots, and what is refused, on both snapshotters."""

# ruff: noqa: ASYNC240 - the tests look at directories between calls; nothing else runs meanwhile

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tricorn.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    TricornError,
    Unimplemented,
)
from tricorn.fs.native import NativeSnapshotter
from tricorn.fs.overlay import OverlaySnapshotter
from tricorn.model.records import LeaseResource
from tricorn.service.snapshots import SnapshotService
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

pytestmark = pytest.mark.root
NS = "n"
REF = "containerd.io/snapshot.ref"


@pytest.fixture(params=["overlayfs", "native"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(str(tmp_path / "db" / "tricorn.db"), HandClock()) as database:
        yield database


@pytest.fixture
def service(db: Database, tmp_path: Path) -> SnapshotService:
    backends = {
        "overlayfs": OverlaySnapshotter(str(tmp_path / "overlayfs")),
        "native": NativeSnapshotter(str(tmp_path / "native")),
    }
    return SnapshotService(db, backends, "overlayfs")


def own_directory(mounts) -> str:
    """Return where a snapshot's own files are."""
    for option in mounts[0].options:
        if option.startswith("upperdir="):
            return option.partition("=")[2]
    return mounts[0].source


async def layer(service: SnapshotService, snapshotter: str, name: str, parent: str = "") -> None:
    mounts = await service.prepare(NS, snapshotter, f"extract-{name}", parent)
    Path(own_directory(mounts), f"file-{name}").write_text(name)
    await service.commit(NS, snapshotter, name, f"extract-{name}")


def on_disk(service: SnapshotService, snapshotter: str) -> int:
    return len(os.listdir(service.backend(snapshotter)._store.directory))


async def test_a_chain_is_prepared_committed_and_removed(service, name):
    await layer(service, name, "base")
    await layer(service, name, "top", "base")
    view = await service.view(NS, name, "v", "top")
    assert "rw" not in view[0].options
    assert await service.mounts(NS, name, "v") == view
    usage = await service.usage(NS, name, "top")
    assert usage.inodes >= 2
    assert usage == (await service.get(NS, name, "top")).usage
    with pytest.raises(FailedPrecondition) as caught:
        await service.delete(NS, name, "base")
    assert "top" in str(caught.value.why)
    with pytest.raises(FailedPrecondition):
        await service.mounts(NS, name, "top")
    for key in ("v", "top", "base"):
        await service.delete(NS, name, key)
    assert on_disk(service, name) == 0
    with pytest.raises(NotFound):
        await service.delete(NS, name, "base")


async def test_what_is_refused_leaves_no_directory(service, name):
    await layer(service, name, "base")
    await service.prepare(NS, name, "active", "base")
    before = on_disk(service, name)
    half = {"containerd.io/snapshot/uidmapping": "0:1000:1"}
    for arguments, labels, error in (
        (("",), {}, InvalidArgument), (("a\0b",), {}, InvalidArgument), (("k" * 5000,), {}, InvalidArgument),
        (("active",), {}, AlreadyExists), (("base",), {}, AlreadyExists),
        (("new", "missing"), {}, NotFound), (("new", "active"), {}, InvalidArgument),
        (("new", "base"), half, InvalidArgument), (("new",), {"k": "v" * 5000}, InvalidArgument),
        (("new",), {REF: "base"}, AlreadyExists),
    ):  # fmt: skip
        for verb in (service.prepare, service.view):
            with pytest.raises(error):
                await verb(NS, name, *arguments, labels=labels)
    with pytest.raises(NotFound):
        await service.prepare(NS, name, "new", "base", lease="none")
    with pytest.raises(InvalidArgument):
        await service.prepare(NS, "other", "new")
    assert on_disk(service, name) == before
    assert not service.in_flight


async def test_labels_have_the_mounts_show_other_owners(service, name):
    await layer(service, name, "base")
    labels = {
        f"containerd.io/snapshot/{kind}mapping": f"0:{first}:10" for kind, first in (("uid", 7), ("gid", 9))
    }
    wanted = ("uidmap=0:7:10", "gidmap=0:9:10")
    if why := await service.unmapped(name):
        assert why
        pytest.skip(why)
    assert (await service.prepare(NS, name, "active", "base", labels=labels))[0].options[-2:] == wanted
    assert (await service.mounts(NS, name, "active"))[0].options[-2:] == wanted
    await service.commit(NS, name, "shifted", "active", labels=labels)
    again = await service.prepare(NS, name, "again", "shifted", labels=labels)
    assert not [option for option in again[0].options if "map=" in option]  # its files have these owners


async def test_where_mounts_cant_map_only_a_copy_of_the_clients_is_stood_upon(service, name):
    chain = f"sha256:{'0' * 64}"
    await layer(service, name, chain)
    await layer(service, name, "copied-by-the-client")
    labels = {f"containerd.io/snapshot/{kind}mapping": "0:7:10" for kind in ("uid", "gid")}
    service.no_maps = "a test says so"
    with pytest.raises(FailedPrecondition, match="other owners"):
        await service.prepare(NS, name, "active", chain, labels=labels)
    (mount,) = await service.prepare(NS, name, "active", "copied-by-the-client", labels=labels)
    assert not [option for option in mount.options if "map=" in option]


async def test_a_lease_gets_what_is_made_and_what_was_there(service, name, db):
    async def held() -> set[str]:
        found = await db.read(lambda tx: tx.leases.list_resources(NS, "l"))
        return {item.id for item in found if item.type == f"snapshots/{name}"}

    await layer(service, name, "base")
    await layer(service, name, "other")
    await db.write(lambda tx: tx.leases.create(NS, "l"))
    await service.prepare(NS, name, "a", "base", lease="l")
    assert await held() == {"a"}
    with pytest.raises(AlreadyExists):
        await service.prepare(NS, name, "b", labels={REF: "base"}, lease="l")
    assert await held() == {"a", "base"}
    with pytest.raises(AlreadyExists):
        await service.commit(NS, name, "other", "a", lease="l")
    assert await held() == {"a", "base", "other"}
    await service.commit(NS, name, "c", "a", lease="l")
    assert await held() == {"base", "other", "c"}
    await service.delete(NS, name, "c")
    assert await held() == {"base", "other"}
    assert LeaseResource("content", "x") not in await db.read(lambda tx: tx.leases.list_resources(NS, "l"))


async def test_labels_change_as_the_mask_says(service, name):
    await service.prepare(NS, name, "k", labels={"a": "1", "b": "2"})

    async def update(labels, *paths):
        return dict((await service.update(NS, name, "k", labels, paths)).labels)

    assert await update({"a": "x", "c": "ignored"}, "labels.a") == {"a": "x", "b": "2"}
    assert await update({}, "labels.b") == {"a": "x"}
    assert await update({"d": "4"}) == {"d": "4"}
    assert await update({"e": "5", "d": ""}, "labels") == {"e": "5"}
    with pytest.raises(InvalidArgument, match="parent"):
        await update({}, "parent")
    with pytest.raises(NotFound):
        await service.update(NS, name, "none", {})


async def test_a_layer_without_parent_can_be_put_on_one(service):
    await layer(service, "overlayfs", "base")
    await service.prepare(NS, "overlayfs", "free")
    await service.commit(NS, "overlayfs", "top", "free", parent="base")
    assert (await service.get(NS, "overlayfs", "top")).parent == "base"
    view = await service.view(NS, "overlayfs", "v", "top")
    assert view[0].type == "overlay"
    await service.prepare(NS, "native", "free")
    with pytest.raises(Unimplemented):
        await service.commit(NS, "native", "top", "free", parent="base")


async def test_an_abandoned_call_leaves_no_directory(service, name, monkeypatch):
    backend = service.backend(name)
    create = type(backend).create

    async def slow(self, *arguments) -> None:
        await create(self, *arguments)
        await trio.sleep_forever()

    monkeypatch.setattr(type(backend), "create", slow)
    with trio.move_on_after(0.2):
        await service.prepare(NS, name, "k")
    assert on_disk(service, name) == 0
    assert not service.in_flight
    with pytest.raises(NotFound):
        await service.get(NS, name, "k")


async def test_a_foreign_daemon_has_a_place_of_its_own(service):
    place = service.place("", "tricorn")
    assert (place.namespace, place.snapshotter, place.foreign) == ("proxied", "overlayfs", True)
    labels = place.labels({"a": "b"})
    assert "containerd.io/gc.root" in labels
    assert place.shown(labels) == {"a": "b"}
    assert place.lease("theirs") == ""
    own = service.place("default", "native")
    assert own.labels({}) == {}
    assert own.lease("ours") == "ours"
    for namespace, snapshotter in (("default", ""), ("default", "zfs"), ("a b", "native")):
        with pytest.raises(TricornError):
            service.place(namespace, snapshotter)


async def test_what_is_being_made_or_removed_is_not_swept(service, name):
    backend = service.backend(name)
    seen: list[list[str]] = []

    def fill(path: str) -> None:
        seen.append(backend._store.walk())
        os.mkdir(os.path.join(path, "fs"))

    backend._store.install("abc", fill)
    assert seen == [[]]
    assert await backend.walk() == ["abc"]
    assert (await service.list(NS)) == []
