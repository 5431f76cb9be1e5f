"""Reads the records into the collector's graph."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from attrs import frozen

from tricorn.errors import InvalidArgument
from tricorn.rules.reach import Graph, Kind, Node, Object
from tricorn.store.codec import to_descriptor, to_labels, to_time
from tricorn.store.session import Session
from tricorn.store.transaction import Transaction

_EMPTY: Final = b"{}"
_IMAGES: Final = "SELECT namespace, name, labels, target FROM images "
_CONTENT: Final = "SELECT namespace, digest, labels FROM content "
_QUARANTINED: Final = "SELECT namespace, digest, labels FROM quarantined "  # they keep what they name, too
_SNAPSHOTS: Final = "SELECT namespace, snapshotter, key, labels, parent, backend_id FROM snapshots "
_CONTAINERS: Final = "SELECT namespace, id, labels, snapshotter, snapshot_key FROM containers "
_SANDBOXES: Final = "SELECT namespace, id, labels FROM sandboxes"
_LEASES: Final = "SELECT namespace, id, labels FROM leases "
_INGESTS: Final = "SELECT namespace, ref, expected, expires_at FROM ingests "
_TIMED: Final = "WHERE instr(labels, 'containerd.io/gc.expire') OR instr(labels, 'containerd.io/gc.cond')"
_LEASE_KINDS: Final = {"content": Kind.CONTENT, "images": Kind.IMAGE, "ingests": Kind.INGEST}


@frozen
class Outside:
    """Something that lives outside the records, and the lease that holds it ("" for none)."""

    object: Object
    lease: str = ""


def load(
    tx: Transaction,
    snapshots_in_use: Collection[str] = (),
    ingests_in_use: Collection[tuple[str, str]] = (),
    outside: Collection[Outside] = (),
) -> Graph:
    """Return the graph of everything, `outside` included. What is in use outside the records (backend ids
    of snapshots, (namespace, ref) of ingests) is kept whatever refers to it.
    """
    return Graph.of(_objects(tx.session, snapshots_in_use, ingests_in_use, outside))


def load_timed(tx: Transaction) -> Graph:
    """Return the part of the graph that time alone changes: much less to read than all."""
    session = tx.session
    objects = [*_images(session, _TIMED), *_content(session, _TIMED), *_snapshots(session, (), _TIMED)]
    return Graph.of([*objects, *_leases(session, _TIMED), *_ingests(session, ())])


def _objects(
    session: Session,
    snapshots_in_use: Collection[str],
    ingests_in_use: Collection[tuple[str, str]],
    outside: Collection[Outside],
) -> Iterator[Object]:
    yield from _images(session)
    yield from _content(session)
    yield from _snapshots(session, snapshots_in_use)
    yield from _containers(session)
    yield from _sandboxes(session)
    yield from _leases(session, outside=outside)
    yield from _ingests(session, ingests_in_use)
    yield from (item.object for item in outside)


def _labels(data: bytes) -> dict[str, str]:
    return {} if data == _EMPTY else to_labels(data)


def _images(session: Session, where: str = "") -> Iterator[Object]:
    for namespace, name, labels, target in session.all(_IMAGES + where):
        digest = to_descriptor(target).digest
        yield Object(
            Node(Kind.IMAGE, namespace, name), _labels(labels), (Node(Kind.CONTENT, namespace, str(digest)),)
        )


def _content(session: Session, where: str = "") -> Iterator[Object]:
    for select in (_CONTENT, _QUARANTINED):
        for namespace, digest, labels in session.all(select + where):
            yield Object(Node(Kind.CONTENT, namespace, digest), _labels(labels))


def _snapshots(session: Session, in_use: Collection[str], where: str = "") -> Iterator[Object]:
    for namespace, snapshotter, key, labels, parent, backend_id in session.all(_SNAPSHOTS + where):
        targets = (_snapshot(namespace, snapshotter, parent),) if parent else ()
        pinned = "an operation uses it" if backend_id in in_use else ""
        yield Object(_snapshot(namespace, snapshotter, key), _labels(labels), targets, pinned=pinned)


def _snapshot(namespace: str, snapshotter: str, key: str) -> Node:
    return Node(Kind.SNAPSHOT, namespace, f"{snapshotter}/{key}")


def _containers(session: Session) -> Iterator[Object]:
    for namespace, name, labels, snapshotter, key in session.all(_CONTAINERS):
        targets = (_snapshot(namespace, snapshotter, key),) if key else ()
        yield Object(Node(Kind.CONTAINER, namespace, name), _labels(labels), targets)


def _sandboxes(session: Session) -> Iterator[Object]:
    for namespace, name, labels in session.all(_SANDBOXES):
        yield Object(Node(Kind.SANDBOX, namespace, name), _labels(labels))


def _leases(session: Session, where: str = "", outside: Collection[Outside] = ()) -> Iterator[Object]:
    held: dict[tuple[str, str], list[Node]] = {}
    for item in outside:
        held.setdefault((item.object.node.namespace, item.lease), []).append(item.object.node)
    for namespace, lease, kind, key in session.all("SELECT namespace, lease, type, id FROM lease_resources"):
        held.setdefault((namespace, lease), []).append(_resource(namespace, kind, key))
    for namespace, name, labels in session.all(_LEASES + where):
        targets = tuple(held.get((namespace, name), ()))
        yield Object(Node(Kind.LEASE, namespace, name), _labels(labels), targets)


def _resource(namespace: str, type: str, id: str) -> Node:
    if type in _LEASE_KINDS:
        return Node(_LEASE_KINDS[type], namespace, id)
    return _snapshot(namespace, type.partition("/")[2], id)


def _ingests(session: Session, in_use: Collection[tuple[str, str]]) -> Iterator[Object]:
    for namespace, ref, expected, expires_at in session.all(_INGESTS):
        yield Object(
            Node(Kind.INGEST, namespace, ref),
            targets=(Node(Kind.CONTENT, namespace, expected),) if expected else (),
            expires_at=None if expires_at is None else to_time(expires_at),
            pinned="a transfer is under way" if (namespace, ref) in in_use else "",
        )


def parse_node(namespace: str, text: str) -> Node:
    """Return the node that `content/sha256:…`, `snapshot/SS/KEY` and the like name; InvalidArgument."""
    kind, slash, key = text.partition("/")
    if not slash or not key or kind not in set(Kind) or (kind == Kind.SNAPSHOT and "/" not in key):
        raise InvalidArgument(
            f"object {text[:200]!r} is malformed",
            hint="use content/DIGEST, image/NAME, snapshot/SNAPSHOTTER/KEY, container/ID, sandbox/ID, "
            "lease/ID, ingest/REF, mount/NAME or stream/ID",
            field="object",
        )
    return Node(Kind(kind), namespace, key)


def children_first(graph: Graph, nodes: Collection[Node]) -> list[Node]:
    """Return `nodes` with every snapshot behind those that stand on it."""

    def depth(node: Node) -> int:
        steps, thing = 0, graph.objects.get(node)
        while thing is not None and thing.node.kind is Kind.SNAPSHOT and thing.targets:
            steps, thing = steps + 1, graph.objects.get(thing.targets[0])
        return steps

    return sorted(nodes, key=lambda node: (-depth(node), node))
