"""Snapshot records: kinds, parents, children, and containerd's error for each misuse."""

from __future__ import annotations

import sqlite3

import pytest
from attrs import evolve

from tricorn.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tricorn.model.records import LeaseResource, Snapshot, SnapshotKind, Usage
from tricorn.store.transaction import Transaction

SS = "overlay"


def prepare(tx: Transaction, key: str, parent: str = "", kind=SnapshotKind.ACTIVE, **more) -> Snapshot:
    return tx.snapshots.create("n", Snapshot(SS, key, kind, f"id-{key}", parent), **more)


def committed(tx: Transaction, name: str, parent: str = "") -> Snapshot:
    prepare(tx, f"extract-{name}", parent)
    return tx.snapshots.commit("n", SS, name, f"extract-{name}", Usage(10, 2))


def test_commit_moves_the_directory_to_the_name(tx: Transaction) -> None:
    active = prepare(tx, "k")
    done = tx.snapshots.commit("n", SS, "layer", "k", Usage(10, 2), labels={"a": "b"})
    assert done == evolve(
        active, key="layer", kind=SnapshotKind.COMMITTED, usage=Usage(10, 2), labels={"a": "b"}
    )
    assert tx.snapshots.get("n", SS, "layer") == done
    assert tx.snapshots.find("n", SS, "k") is None
    topics = [(event.topic, dict(event.event)) for event in tx.events.page(1).events]
    assert topics == [
        ("/snapshot/prepare", {"key": "k", "parent": "", "snapshotter": SS}),
        ("/snapshot/commit", {"key": "k", "name": "layer", "snapshotter": SS}),
    ]


def test_the_parent_must_be_there_and_committed(tx: Transaction) -> None:
    with pytest.raises(NotFound):
        prepare(tx, "k", "missing")
    prepare(tx, "active")
    with pytest.raises(InvalidArgument):
        prepare(tx, "k", "active")
    committed(tx, "base")
    prepare(tx, "k", "base")


def test_kinds_share_one_space_of_keys(tx: Transaction) -> None:
    committed(tx, "base")
    prepare(tx, "v", "base", SnapshotKind.VIEW)
    for key in ("base", "v"):
        with pytest.raises(AlreadyExists):
            prepare(tx, key)
    prepare(tx, "k")
    with pytest.raises(AlreadyExists):
        tx.snapshots.commit("n", SS, "base", "k", Usage())


def test_only_active_ones_can_be_committed(tx: Transaction) -> None:
    committed(tx, "base")
    prepare(tx, "v", "base", SnapshotKind.VIEW)
    for key in ("base", "v"):
        with pytest.raises(FailedPrecondition):
            tx.snapshots.commit("n", SS, "new", key, Usage())
    with pytest.raises(NotFound):
        tx.snapshots.commit("n", SS, "new", "missing", Usage())


def test_a_parent_may_be_given_at_commit_to_one_without(tx: Transaction) -> None:
    committed(tx, "base")
    prepare(tx, "k")
    assert tx.snapshots.commit("n", SS, "second", "k", Usage(), parent="base").parent == "base"
    assert tx.snapshots.children("n", SS, "base") == ["second"]
    prepare(tx, "k2", "base")
    with pytest.raises(InvalidArgument):
        tx.snapshots.commit("n", SS, "third", "k2", Usage(), parent="second")
    prepare(tx, "other")
    with pytest.raises(InvalidArgument):
        tx.snapshots.commit("n", SS, "third", "other", Usage(), parent="k2")
    with pytest.raises(NotFound):
        tx.snapshots.commit("n", SS, "third", "other", Usage(), parent="missing")


def test_removal_is_refused_with_the_names_of_the_children(tx: Transaction) -> None:
    committed(tx, "base")
    prepare(tx, "a", "base")
    prepare(tx, "b", "base")
    with pytest.raises(FailedPrecondition) as caught:
        tx.snapshots.remove("n", SS, "base")
    assert caught.value.why == "a, b"
    for key in ("a", "b", "base"):
        assert tx.snapshots.remove("n", SS, key).backend_id.endswith(key)
    with pytest.raises(NotFound):
        tx.snapshots.remove("n", SS, "base")


def test_ancestry_is_nearest_first(tx: Transaction) -> None:
    committed(tx, "1")
    committed(tx, "2", "1")
    committed(tx, "3", "2")
    assert [snapshot.key for snapshot in tx.snapshots.ancestors("n", SS, "3")] == ["2", "1"]
    assert tx.snapshots.parent_ids("n", SS, "3") == ("id-extract-3", "id-extract-2", "id-extract-1")
    assert tx.snapshots.parent_ids("n", SS, "") == ()


def test_leases_follow_from_key_to_name(tx: Transaction) -> None:
    tx.leases.create("n", "l")
    prepare(tx, "k", lease="l")
    assert tx.leases.list_resources("n", "l") == [LeaseResource(f"snapshots/{SS}", "k")]
    tx.snapshots.commit("n", SS, "layer", "k", Usage(), lease="l")
    assert tx.leases.list_resources("n", "l") == [LeaseResource(f"snapshots/{SS}", "layer")]
    with pytest.raises(NotFound):
        prepare(tx, "k2", lease="missing")


def test_labels_merge_even_when_committed(tx: Transaction) -> None:
    committed(tx, "base")
    tx.snapshots.update_labels("n", SS, "base", {"a": "1", "b": "2"})
    assert tx.snapshots.update_labels("n", SS, "base", {"a": ""}).labels == {"b": "2"}


def test_one_directory_has_one_record(tx: Transaction) -> None:
    tx.snapshots.create("n", Snapshot(SS, "a", SnapshotKind.ACTIVE, "same"))
    with pytest.raises(sqlite3.IntegrityError):
        tx.snapshots.create("m", Snapshot(SS, "a", SnapshotKind.ACTIVE, "same"))


def test_lists(tx: Transaction) -> None:
    prepare(tx, "a")
    committed(tx, "b")
    tx.snapshots.create("n", Snapshot("native", "c", SnapshotKind.ACTIVE, "x"))
    tx.snapshots.create("m", Snapshot(SS, "d", SnapshotKind.ACTIVE, "y"))
    assert [snapshot.key for snapshot in tx.snapshots.list("n")] == ["c", "a", "b"]
    assert [snapshot.key for snapshot in tx.snapshots.list("n", SS, ["kind==committed"])] == ["b"]
    assert [name for name, _ in tx.snapshots.list_all()] == ["m", "n", "n", "n"]
    assert tx.snapshots.backend_ids(SS) == {"id-a", "id-extract-b", "y"}
