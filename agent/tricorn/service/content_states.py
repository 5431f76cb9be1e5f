"""Blobs as desired states: with these labels, or not in the namespace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tricorn.model import ids
from tricorn.model.ids import Digest
from tricorn.model.records import ContentInfo
from tricorn.model.requests import Action, Change, ContentDesired
from tricorn.rules.plan import merged_labels
from tricorn.store.transaction import Transaction


def step(
    namespace: str, digest: Digest, desired: ContentDesired, *, plan: bool
) -> Callable[[Transaction], Change]:
    """Return what brings a blob into its state in a transaction or, with `plan`, only tells what would.

    It raises NotFound for labels of a blob that the namespace doesn't have. InvalidArgument for labels that
    can't be.
    """
    if desired.state == "absent":
        return lambda tx: _absent(tx, namespace, digest, plan=plan)
    labels = ids.labels(desired.labels)
    return lambda tx: _labelled(tx, namespace, digest, labels, plan=plan)


def _absent(tx: Transaction, namespace: str, digest: Digest, *, plan: bool) -> Change:
    current = tx.content.find(namespace, digest)
    if current is None:
        return Change(changed=False)
    if not plan:
        tx.content.delete(namespace, digest)
    return Change(changed=True, actions=(Action("remove", f"content/{digest}"),), before=_view(current))


def _labelled(
    tx: Transaction, namespace: str, digest: Digest, labels: Mapping[str, str], *, plan: bool
) -> Change:
    current = tx.content.get(namespace, digest)
    before = _view(current)
    after = {**before, "labels": merged_labels(current.labels, labels)}
    if before == after:
        return Change(changed=False, before=before, after=after)
    if not plan:
        tx.content.update_labels(namespace, digest, labels)
    return Change(changed=True, actions=(Action("label", f"content/{digest}"),), before=before, after=after)


def _view(info: ContentInfo) -> dict[str, Any]:
    return {"digest": str(info.digest), "size": info.size, "labels": dict(info.labels)}
