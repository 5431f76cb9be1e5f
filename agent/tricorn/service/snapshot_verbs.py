"""What clients do with snapshots: prepare, view, commit, label, remove, and the checks that go with it.

A directory is made before its record, under a reservation that protects it from the sweep; a record goes
before its directory. So whatever a crash leaves is a directory without a record, which the sweep removes.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    Unimplemented,
)
from tricorn.failpoints import failpoint
from tricorn.fs.durability import sync_filesystem
from tricorn.model import ids
from tricorn.model.records import Snapshot, SnapshotKind, Usage
from tricorn.ports import FilesystemMount, Snapshotter
from tricorn.rules.label_masks import label_changes_of
from tricorn.rules.snapshot_checks import check_key
from tricorn.rules.user_namespaces import (
    IdMaps,
    is_shifted,
    labelled_maps,
    mapped_mounts,
    require_unpacked_by_client,
)
from tricorn.service.defaults import NamespaceDefaults
from tricorn.service.reservations import Reservation
from tricorn.service.snapshot_places import PROXIED, PROXY_NAMESPACE, Place
from tricorn.service.tidying import Tidier
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

_REFERENCE: Final = "containerd.io/snapshot.ref"
_REMEMBERED: Final = 1024  # layers that wait for their parent


class SnapshotVerbs:
    """`backends` are the snapshotters by name; with `sync` files are flushed to disk before the snapshot
    that holds them is committed.
    """

    def __init__(
        self, db: Database, backends: Mapping[str, Snapshotter], default: str, *, sync: bool = False
    ) -> None:
        self._db = db
        self._backends = backends
        self.default = default
        self.defaults = NamespaceDefaults(db)
        self._sync = sync
        self.in_flight: set[str] = set()
        self._implied: dict[str, tuple[str, ...]] = {}
        self.no_maps = ""  # why mounts aren't to show other owners even where they can
        self.tidier: Tidier | None = None  # without one, files are removed while the caller waits

    def backend(self, name: str) -> Snapshotter:
        """Return the snapshotter `name`; InvalidArgument naming those there are."""
        try:
            return self._backends[name]
        except KeyError:
            known = ", ".join(sorted(self._backends))
            raise InvalidArgument(
                f"no snapshotter {name!r}", hint=f"there are: {known}", field="snapshotter"
            ) from None

    async def default_in(self, namespace: str) -> str:
        """Return the snapshotter for requests of the namespace that name none."""
        return await self.defaults.snapshotter(namespace, self.default)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._backends)

    def place(self, namespace: str, snapshotter: str) -> Place:
        """Return where the snapshots of a call are; `tricorn` is what a foreign daemon says."""
        if snapshotter == PROXIED:
            return Place(PROXY_NAMESPACE, self.default, foreign=True)
        self.backend(snapshotter)
        return Place(ids.namespace(namespace), snapshotter)

    @asynccontextmanager
    async def reservation(self, snapshotter: str) -> AsyncIterator[Reservation]:
        """Hold backend ids for one piece of work on `snapshotter` ("" reserves nothing)."""
        held = Reservation(self.backend(snapshotter) if snapshotter else None, self.in_flight)
        try:
            yield held
        finally:
            await held.close()

    # ------------------------------------------------------------ making
    async def prepare(
        self, namespace: str, snapshotter: str, key: str, parent: str = "", *,
        labels: Mapping[str, str] | None = None, lease: str = "",
    ) -> tuple[FilesystemMount, ...]:  # fmt: skip
        """Make the active snapshot `key` on `parent` ("" = on nothing) and return its mounts.

        AlreadyExists for a key in use, and for a label `containerd.io/snapshot.ref` that names a snapshot
        (the lease gets either of them); NotFound for the parent or the lease; InvalidArgument for a parent
        that isn't committed.
        """
        return await self._make(SnapshotKind.ACTIVE, namespace, snapshotter, key, parent, labels or {}, lease)

    async def view(
        self, namespace: str, snapshotter: str, key: str, parent: str = "", *,
        labels: Mapping[str, str] | None = None, lease: str = "",
    ) -> tuple[FilesystemMount, ...]:  # fmt: skip
        """As `prepare`, but read-only."""
        return await self._make(SnapshotKind.VIEW, namespace, snapshotter, key, parent, labels or {}, lease)

    async def _make(
        self, kind: SnapshotKind, namespace: str, snapshotter: str, key: str, parent: str,
        labels: Mapping[str, str], lease: str,
    ) -> tuple[FilesystemMount, ...]:  # fmt: skip
        backend = self.backend(snapshotter)
        check_key(key)
        ids.labels(labels)
        reason = await backend.supported()
        if reason:
            raise FailedPrecondition(f"snapshotter {snapshotter} cannot work here", why=reason)
        parents = await self._parents_of_new(namespace, snapshotter, key, parent, labels, lease)
        record = Snapshot(snapshotter, key, kind, "", parent, labels)
        maps = await self._maps(namespace, record, new=True)
        async with self.reservation(snapshotter) as reservation:
            backend_id = reservation.take()
            await backend.create(backend_id, kind, parents)
            failpoint("snapshot.made")
            record = evolve(record, backend_id=backend_id)

            def create(tx: Transaction) -> None:
                if tx.snapshots.parent_ids(namespace, snapshotter, parent) != parents:
                    raise Aborted(f"parent snapshot {parent} was replaced meanwhile", hint="try again")
                tx.snapshots.create(namespace, record, lease=lease)

            await self._db.write(create, durable=False)
            reservation.keep(backend_id)
            failpoint("snapshot.recorded")
        return mapped_mounts(backend.mounts(backend_id, kind, parents), maps)

    async def unmapped(self, snapshotter: str) -> str:
        """Return why a snapshotter's mounts can't show files with other owners, "" if they can."""
        return self.no_maps or await self.backend(snapshotter).unmapped()

    async def shown(
        self, namespace: str, snapshot: Snapshot, mounts: Sequence[FilesystemMount]
    ) -> tuple[FilesystemMount, ...]:
        """Return a snapshot's mounts with the owners that its labels want them to have."""
        return mapped_mounts(mounts, await self._maps(namespace, snapshot))

    async def _maps(self, namespace: str, snapshot: Snapshot, *, new: bool = False) -> IdMaps | None:
        """Return the mappings that a snapshot's mounts have to show. Files that have such owners already are
        shown as they are: those of a copy that the agent made, or where mounts can't map, the client.
        """
        maps = labelled_maps(snapshot.labels)
        if maps is None or not snapshot.parent:
            return None
        if is_shifted(await self.get(namespace, snapshot.snapshotter, snapshot.parent)):
            return None
        if why := await self.unmapped(snapshot.snapshotter):
            if new:
                require_unpacked_by_client(snapshot.parent, why)
            return None
        return maps

    async def _parents_of_new(
        self, namespace: str, snapshotter: str, key: str, parent: str, labels: Mapping[str, str], lease: str
    ) -> tuple[str, ...]:
        """Return the backend ids below a new snapshot; tell now what would hinder its record."""

        def look(tx: Transaction) -> tuple[str, tuple[str, ...]]:
            for name in (labels.get(_REFERENCE, ""), key):
                if name and tx.snapshots.find(namespace, snapshotter, name):
                    return name, ()
            tx.snapshots.check_parent(namespace, snapshotter, parent)
            return "", tx.snapshots.parent_ids(namespace, snapshotter, parent)

        taken, parents = await self._db.look(look)
        if taken:
            kind = f"snapshots/{snapshotter}"
            if lease:
                await self._db.write(lambda tx: tx.leases.protect(namespace, lease, kind, taken))
            raise AlreadyExists(f"snapshot {taken} exists already in {snapshotter} of namespace {namespace}")
        return parents

    async def mounts(self, namespace: str, snapshotter: str, key: str) -> tuple[FilesystemMount, ...]:
        """Return the mounts of an active snapshot or view; FailedPrecondition for a committed one."""
        backend = self.backend(snapshotter)

        def look(tx: Transaction) -> tuple[Snapshot, tuple[str, ...]]:
            found = tx.snapshots.get(namespace, snapshotter, key)
            return found, tx.snapshots.parent_ids(namespace, snapshotter, found.parent)

        snapshot, parents = await self._db.look(look)
        if snapshot.kind is SnapshotKind.COMMITTED:
            raise FailedPrecondition(
                f"snapshot {key} is committed", why="only an active one or a view can be mounted",
                hint="prepare a snapshot or a view on it",
            )  # fmt: skip
        mounts = backend.mounts(snapshot.backend_id, snapshot.kind, parents)
        return await self.shown(namespace, snapshot, mounts)

    async def commit(
        self, namespace: str, snapshotter: str, name: str, key: str, *,
        labels: Mapping[str, str] | None = None, parent: str = "", lease: str = "",
    ) -> Snapshot:  # fmt: skip
        """Turn the active `key` into the committed `name`. `parent` may be given for one that has none.

        AlreadyExists for a name in use (the lease gets it); NotFound; FailedPrecondition if `key` isn't
        active; InvalidArgument for the parent.
        """
        backend = self.backend(snapshotter)
        check_key(name)
        if parent and backend.layer_root("probe") is None:
            raise Unimplemented(
                f"snapshotter {snapshotter} cannot put a snapshot on another parent",
                why="its snapshots are whole copies",
            )
        old = await self.get(namespace, snapshotter, key)
        await self._complete(backend, namespace, old, parent)
        usage = await backend.commit(old.backend_id)
        if self._sync:
            await sync_filesystem(backend.mounts(old.backend_id, SnapshotKind.ACTIVE, ())[0].source)
        failpoint("snapshot.measured")

        def record(tx: Transaction) -> Snapshot | None:
            if tx.snapshots.find(namespace, snapshotter, name):
                tx.leases.protect(namespace, lease, f"snapshots/{snapshotter}", name)
                return None
            return tx.snapshots.commit(
                namespace, snapshotter, name, key, usage, labels=labels, parent=parent, lease=lease
            )

        committed = await self._db.write(record)
        failpoint("snapshot.committed")
        if committed is None:
            raise AlreadyExists(f"snapshot {name} exists already in {snapshotter} of namespace {namespace}")
        return committed

    def note_implied(self, directory: str, implied: Sequence[str]) -> None:
        """Remember which directories a layer had no entry for, until its snapshot gets a parent."""
        backend_id = os.path.basename(os.path.dirname(directory))
        with suppress(InvalidArgument):  # no id of ours
            if directory in {backend.layer_root(backend_id) for backend in self._backends.values()}:
                while len(self._implied) >= _REMEMBERED:
                    del self._implied[next(iter(self._implied))]
                self._implied[backend_id] = tuple(implied)

    async def _complete(self, backend: Snapshotter, namespace: str, old: Snapshot, parent: str) -> None:
        """Give the directories that a layer had no entry for the metadata they have below `parent`."""
        implied = self._implied.pop(old.backend_id, ())
        if parent and not old.parent and implied:
            below = await self._db.look(
                lambda tx: tx.snapshots.parent_ids(namespace, old.snapshotter, parent)
            )
            await backend.adopt(old.backend_id, below, implied)

    # ------------------------------------------------------------ looking and labelling
    async def list(
        self, namespace: str, snapshotter: str = "", filters: Sequence[str] = ()
    ) -> list[Snapshot]:
        """Return the namespace's snapshots, of one snapshotter or of all."""
        return await self._db.read(lambda tx: tx.snapshots.list(namespace, snapshotter, filters))

    async def get(self, namespace: str, snapshotter: str, key: str) -> Snapshot:
        return await self._db.look(lambda tx: tx.snapshots.get(namespace, snapshotter, key))

    async def update(
        self, namespace: str, snapshotter: str, key: str, labels: Mapping[str, str],
        paths: Sequence[str] = (),
    ) -> Snapshot:  # fmt: skip
        """Change labels as the field mask `paths` says (none: replace all); nothing else can change."""

        def change(tx: Transaction) -> Snapshot:
            old = tx.snapshots.get(namespace, snapshotter, key)
            changes = label_changes_of(old.labels, labels, paths, f"snapshot {key}")
            return tx.snapshots.update_labels(namespace, snapshotter, key, changes)

        return await self._db.write(change)

    async def usage(self, namespace: str, snapshotter: str, key: str) -> Usage:
        """Return a snapshot's own disk usage: measured while it is active, recorded once committed."""
        snapshot = await self.get(namespace, snapshotter, key)
        if snapshot.kind is SnapshotKind.COMMITTED:
            return snapshot.usage
        return await self.backend(snapshotter).usage(snapshot.backend_id)

    # ------------------------------------------------------------ removing
    async def delete(self, namespace: str, snapshotter: str, key: str) -> None:
        """Remove a snapshot that nothing stands on; FailedPrecondition names what does.

        The record is gone when this returns; the files follow, for there may be many of them. What a crash
        leaves of them goes with the sweep at the next start.
        """
        backend = self.backend(snapshotter)

        def remove(tx: Transaction) -> Snapshot:
            tx.leases.forget(namespace, f"snapshots/{snapshotter}", key)
            return tx.snapshots.remove(namespace, snapshotter, key)

        removed = await self._db.write_soon(remove)
        failpoint("snapshot.forgotten")

        async def work() -> None:
            await self._db.flushed()
            await backend.remove(removed.backend_id)

        if self.tidier is not None:
            await self.tidier.behind(f"snapshot {key}", work)
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            await work()
