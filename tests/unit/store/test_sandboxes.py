"""Records of sandboxes: kept byte for byte, roots of what their labels refer to."""

from __future__ import annotations

import pytest
from attrs import evolve

from tricorn.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tricorn.model.ids import Digest
from tricorn.model.records import AnyValue, Sandbox, SandboxRuntime
from tricorn.rules.reach import Kind, Node, mark
from tricorn.store import gc_graph
from tricorn.store.transaction import Transaction

OPTIONS = AnyValue("containerd.runc.v1.Options", b"\x10\x01")
SANDBOX = Sandbox(
    "pod",
    SandboxRuntime("io.containerd.runc.v2", OPTIONS),
    spec=AnyValue("types.containerd.io/opencontainers/runtime-spec/1/Spec", b'{"hostname":"pod"}'),
    sandboxer="shim",
    labels={"tier": "front"},
    extensions={"a": AnyValue("b", b"\x00\xff")},
)


def test_life_of_a_sandbox(tx: Transaction) -> None:
    made = tx.sandboxes.create("n", SANDBOX)
    assert made == evolve(SANDBOX, created_at=tx.now, updated_at=tx.now)
    assert tx.sandboxes.get("n", "pod") == made
    assert tx.sandboxes.list("n", ["labels.tier==front"]) == [made]
    assert tx.sandboxes.list("n", ["runtime.name==x", "id==y"]) == []
    changed = tx.sandboxes.replace("n", evolve(SANDBOX, labels={}, spec=None))
    assert (changed.labels, changed.spec, changed.created_at) == ({}, None, made.created_at)
    with pytest.raises(AlreadyExists):
        tx.sandboxes.create("n", SANDBOX)
    tx.sandboxes.delete("n", "pod")
    for call in (tx.sandboxes.get, tx.sandboxes.delete):
        with pytest.raises(NotFound):
            call("n", "pod")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "a/b"}, "sandbox_id"),
        ({"runtime": SandboxRuntime("")}, "runtime.name"),
        ({"labels": {"": "x"}}, "labels"),
    ],
)
def test_malformed_records_are_refused(tx: Transaction, changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        tx.sandboxes.create("n", evolve(SANDBOX, **changes))
    assert caught.value.field == field


def test_runtime_and_controller_never_change(tx: Transaction) -> None:
    tx.sandboxes.create("n", SANDBOX)
    for changed in (evolve(SANDBOX, runtime=SandboxRuntime("other")), evolve(SANDBOX, sandboxer="other")):
        with pytest.raises(InvalidArgument, match="cannot be changed"):
            tx.sandboxes.replace("n", changed)


def test_a_namespace_with_sandboxes_is_not_empty(tx: Transaction) -> None:
    tx.sandboxes.create("n", SANDBOX)
    with pytest.raises(FailedPrecondition, match=r"sandboxes \(1\)"):
        tx.namespaces.delete("n")


def test_what_a_sandbox_refers_to_is_kept(tx: Transaction) -> None:
    kept, lost = Digest.of(b"kept"), Digest.of(b"lost")
    for digest in (kept, lost):
        tx.content.create("n", digest, 4)
    tx.sandboxes.create("n", evolve(SANDBOX, labels={"containerd.io/gc.ref.content": str(kept)}))
    marked = mark(gc_graph.load(tx), tx.now)
    assert marked == {Node(Kind.SANDBOX, "n", "pod"), Node(Kind.CONTENT, "n", str(kept))}
