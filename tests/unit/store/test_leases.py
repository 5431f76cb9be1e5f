"""Leases hold resources; deleting one deletes no resource."""

from __future__ import annotations

import pytest

from tricorn.errors import AlreadyExists, InvalidArgument, NotFound
from tricorn.model.ids import Digest
from tricorn.model.records import LeaseResource
from tricorn.store.transaction import Transaction

ONE = Digest.of(b"one")


def test_life_of_a_lease(tx: Transaction) -> None:
    made = tx.leases.create("n", "l", {"containerd.io/gc.expire": "2026-11-21T00:00:00Z"})
    assert tx.leases.get("n", "l") == made
    assert tx.leases.list("n", ["id==l"]) == [made]
    assert tx.leases.list_all() == [("n", made)]
    with pytest.raises(AlreadyExists):
        tx.leases.create("n", "l")
    tx.leases.delete("n", "l")
    for call in (tx.leases.get, tx.leases.delete, tx.leases.list_resources):
        with pytest.raises(NotFound):
            call("n", "l")


def test_other_labels_leave_the_resources(tx: Transaction) -> None:
    tx.leases.create("n", "l", {"a": "1"})
    tx.leases.add_resource("n", "l", LeaseResource("images", "a"))
    tx.leases.set_labels("n", "l", {"containerd.io/gc.expire": "2026-11-21T00:00:00Z"})
    assert tx.leases.get("n", "l").labels == {"containerd.io/gc.expire": "2026-11-21T00:00:00Z"}
    assert len(tx.leases.list_resources("n", "l")) == 1
    with pytest.raises(NotFound):
        tx.leases.set_labels("n", "none", {})


def test_resources(tx: Transaction) -> None:
    tx.leases.create("n", "l")
    wanted = [
        LeaseResource("content", str(ONE)),
        LeaseResource("images", "a"),
        LeaseResource("ingests", "ref"),
        LeaseResource("snapshots/overlay", "k"),
    ]
    for resource in [*wanted, wanted[0]]:
        tx.leases.add_resource("n", "l", resource)
    assert tx.leases.list_resources("n", "l") == wanted
    assert ("n", "l", wanted[1]) in tx.leases.resources_of_all()
    tx.leases.remove_resource("n", "l", wanted[0])
    tx.leases.remove_resource("n", "l", wanted[0])
    assert tx.leases.list_resources("n", "l") == wanted[1:]
    tx.leases.delete("n", "l")
    assert tx.leases.resources_of_all() == []


@pytest.mark.parametrize(
    ("type", "id"), [("", "x"), ("tasks", "x"), ("snapshots", "x"), ("snapshots/", "x"), ("content", "")]
)
def test_unknown_types_are_refused(tx: Transaction, type: str, id: str) -> None:
    tx.leases.create("n", "l")
    with pytest.raises(InvalidArgument):
        tx.leases.add_resource("n", "l", LeaseResource(type, id))


def test_creating_under_a_lease_that_is_gone(tx: Transaction) -> None:
    with pytest.raises(NotFound):
        tx.content.create("n", ONE, 3, lease="gone")


def test_sharing_brings_no_reference_of_the_other_namespace(tx: Transaction) -> None:
    labels = {"containerd.io/distribution.source.docker.io": "library/a", "containerd.io/gc.ref.content": "x"}
    tx.content.create("one", ONE, 3, labels)
    tx.leases.create("two", "l")
    shared = tx.content.share("two", ONE, lease="l")
    assert shared is not None
    assert shared.labels == {"containerd.io/distribution.source.docker.io": "library/a"}
    assert tx.leases.list_resources("two", "l") == [LeaseResource("content", ONE)]
    assert tx.content.share("two", Digest.of(b"other")) is None


def test_an_isolated_namespace_shares_only_when_labelled(tx: Transaction) -> None:
    tx.content.create("one", ONE, 3)
    assert tx.content.share("two", ONE, isolated=True) is None
    tx.namespaces.update("one", {"containerd.io/namespace.shareable": "true"})
    assert tx.content.share("two", ONE, isolated=True) is not None
    assert tx.content.share("one", ONE, isolated=True) is not None
