"""Snapshots as desired states: there, of this kind, on this parent, with these labels; or gone."""

from __future__ import annotations

from typing import Any

import attrs

from tricorn.errors import AlreadyExists, FailedPrecondition, NotFound
from tricorn.model import ids
from tricorn.model.records import Snapshot, SnapshotKind
from tricorn.model.requests import Action, Change, SnapshotDesired
from tricorn.rules.plan import merged_labels
from tricorn.rules.snapshot_checks import check_key
from tricorn.service.snapshots import SnapshotService
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

_KINDS = {
    "active": SnapshotKind.ACTIVE, "view": SnapshotKind.VIEW, "committed": SnapshotKind.COMMITTED,
}  # fmt: skip
_VERBS = {"active": "prepare", "view": "view", "committed": "commit"}


class SnapshotStates:
    """The desired-state side of snapshots; `SnapshotService` has the verbs."""

    def __init__(self, db: Database, snapshots: SnapshotService) -> None:
        self._db = db
        self._snapshots = snapshots

    async def put(
        self, namespace: str, snapshotter: str, key: str, desired: SnapshotDesired, *, plan: bool = False
    ) -> Change:
        """Make sure that a snapshot is there as described, or gone. Labels that aren't named stay, those
        with an empty value go.

        AlreadyExists for a key that another kind of snapshot has, or one on another parent; NotFound for a
        parent or source; FailedPrecondition for one that others stand on, or that isn't active.
        """
        self._snapshots.backend(snapshotter)
        check_key(key)
        ids.labels(desired.labels)
        if desired.state == "absent":
            return await self._absent(namespace, snapshotter, key, plan=plan)

        def look(tx: Transaction) -> Snapshot | None:
            current = tx.snapshots.find(namespace, snapshotter, key)
            if current is None:
                _check_making(tx, namespace, snapshotter, key, desired)
            else:
                _check_same(current, desired)
            return current

        current = await self._db.look(look)
        if current is None:
            return await self._make(namespace, snapshotter, key, desired, plan=plan)
        return await self._label(namespace, current, desired, plan=plan)

    async def _absent(self, namespace: str, snapshotter: str, key: str, *, plan: bool) -> Change:
        def look(tx: Transaction) -> Snapshot | None:
            found = tx.snapshots.find(namespace, snapshotter, key)
            children = tx.snapshots.children(namespace, snapshotter, key) if found else []
            if children:
                raise FailedPrecondition(
                    f"snapshot {key} has {len(children)} children", why=", ".join(children[:20]),
                    hint="remove the children first",
                )  # fmt: skip
            return found

        found = await self._db.look(look)
        if found is None:
            return Change(changed=False)
        before = await self._view(namespace, found)
        if not plan:
            await self._snapshots.delete(namespace, snapshotter, key)
        return Change(
            changed=True, actions=(Action("remove", f"snapshot/{snapshotter}/{key}"),), before=before
        )

    async def _make(
        self, namespace: str, snapshotter: str, key: str, desired: SnapshotDesired, *, plan: bool
    ) -> Change:
        action = Action(_VERBS[desired.state], f"snapshot/{snapshotter}/{key}", "no such snapshot")
        labels = merged_labels({}, desired.labels)
        if plan:
            parent = desired.parent
            if desired.source and not parent:
                parent = (await self._snapshots.get(namespace, snapshotter, desired.source)).parent
            after = _plain(Snapshot(snapshotter, key, _KINDS[desired.state], "", parent, labels))
            return Change(changed=True, actions=(action,), after=after)
        lease, parent = desired.lease, desired.parent
        if desired.state == "committed":
            await self._snapshots.commit(
                namespace, snapshotter, key, desired.source, labels=labels, parent=parent, lease=lease
            )
        elif desired.state == "view":
            await self._snapshots.view(namespace, snapshotter, key, parent, labels=labels, lease=lease)
        else:
            await self._snapshots.prepare(namespace, snapshotter, key, parent, labels=labels, lease=lease)
        made = await self._snapshots.get(namespace, snapshotter, key)
        return Change(changed=True, actions=(action,), after=await self._view(namespace, made))

    async def _label(
        self, namespace: str, current: Snapshot, desired: SnapshotDesired, *, plan: bool
    ) -> Change:
        before = await self._view(namespace, current)
        labels = merged_labels(current.labels, desired.labels)
        after = {**before, "labels": labels}
        if before == after:
            return Change(changed=False, before=before, after=after)
        if not plan:
            paths = [f"labels.{name}" for name in desired.labels]
            await self._snapshots.update(namespace, current.snapshotter, current.key, desired.labels, paths)
        action = Action("update", f"snapshot/{current.snapshotter}/{current.key}", "its labels differ")
        return Change(changed=True, actions=(action,), before=before, after=after)

    async def _view(self, namespace: str, snapshot: Snapshot) -> dict[str, Any]:
        """Return a snapshot as changes show it, with the mounts that lead to its files if there are any."""
        view = _plain(snapshot)
        if snapshot.kind is not SnapshotKind.COMMITTED:
            mounts = await self._snapshots.mounts(namespace, snapshot.snapshotter, snapshot.key)
            view["mounts"] = [attrs.asdict(mount) for mount in mounts]
        return view


def _plain(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "snapshotter": snapshot.snapshotter, "key": snapshot.key, "kind": str(snapshot.kind),
        "parent": snapshot.parent, "labels": dict(snapshot.labels),
    }  # fmt: skip


def _check_same(current: Snapshot, desired: SnapshotDesired) -> None:
    """AlreadyExists if the snapshot is not what is wanted and can't become it."""
    hint = "remove it first, or choose another key"
    if current.kind is not _KINDS[desired.state]:
        raise AlreadyExists(f"snapshot {current.key} is {current.kind}, not {desired.state}", hint=hint)
    if desired.parent and current.parent != desired.parent:
        why = f"it is on {current.parent}" if current.parent else "it has no parent"
        raise AlreadyExists(
            f"snapshot {current.key} is not on {desired.parent}", why=why, hint=hint, field="parent"
        )


def _check_making(
    tx: Transaction, namespace: str, snapshotter: str, key: str, desired: SnapshotDesired
) -> None:
    """Raise now what would hinder the making; the making itself finds out again."""
    tx.snapshots.check_parent(namespace, snapshotter, desired.parent)
    if desired.state != "committed":
        return
    if not desired.source:
        raise NotFound(
            f"snapshot {key} does not exist in {snapshotter} of namespace {namespace}",
            hint="name the active snapshot that is to become it", field="source",
        )  # fmt: skip
    source = tx.snapshots.get(namespace, snapshotter, desired.source)
    if source.kind is not SnapshotKind.ACTIVE:
        raise FailedPrecondition(
            f"snapshot {source.key} is {source.kind}",
            why="only an active one can be committed",
            field="source",
        )
