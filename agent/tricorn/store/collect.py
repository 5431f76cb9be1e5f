"""Garbage collection: mark and delete the records in one transaction, then remove what they stood for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import datetime

import structlog
import trio
from attrs import frozen

from tricorn.errors import NotFound, TricornError
from tricorn.failpoints import failpoint
from tricorn.model.requests import GcExplanation, GcReport
from tricorn.ports import Clock, Snapshotter
from tricorn.rules import reach
from tricorn.rules.reach import Graph, Kind, Node
from tricorn.store import gc_graph
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.gc_schedule import Schedule
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)

SnapshotRemover = Callable[[str, str], Awaitable[None]]
Directory = tuple[str, str]  # snapshotter, backend id


@frozen
class _Swept:
    """What one transaction deleted."""

    nodes: tuple[Node, ...] = ()
    directories: tuple[Directory, ...] = ()
    deletions: int = 0


class Collector:
    """Removes what nothing keeps. `remove_snapshot(snapshotter, backend_id)` removes a directory whose
    record is gone; it is repeated at the next collection if it fails.

    `protected` holds the backend ids of snapshots that an operation works on, whether they have records
    yet or not: add before the directory is made, discard once the record (with its lease) is on disk.
    """

    def __init__(
        self, db: Database, content: ContentStore, remove_snapshot: SnapshotRemover, clock: Clock
    ) -> None:
        self.db = db
        self.content = content
        self.remove_snapshot = remove_snapshot
        self.clock = clock
        self.protected: set[str] = set()
        self.afterwards: list[Callable[[], Awaitable[None]]] = []  # what else leases keep
        self._schedule = Schedule(db, clock)
        self._leftover: dict[Directory, None] = {}
        self._lock = trio.Lock()

    async def collect(self, *, dry_run: bool = False) -> GcReport:
        """Collect now, or tell under `dry_run` what a collection would remove. One at a time."""
        start = trio.current_time()
        if dry_run:
            return await self._would_remove(start)
        async with self._lock:
            start = trio.current_time()
            before = self._schedule.begin()
            swept = await self._delete_records()
            failpoint("collect.deleted")
            size = await self._remove_files(swept.directories)
            for collect in self.afterwards:
                await collect()
            seconds = trio.current_time() - start
            self._schedule.end(before, swept.deletions, seconds)
            if swept.nodes or size:
                log.info("garbage collected", objects=len(swept.nodes), bytes=size, seconds=round(seconds, 4))
            return GcReport(dry_run=False, removed=_as_mappings(swept.nodes), bytes=size, seconds=seconds)

    async def _would_remove(self, start: float) -> GcReport:
        graph, kept = await self.db.read(self._mark)
        nodes = gc_graph.children_first(graph, graph.objects.keys() - kept)
        recorded = {node.key for node in kept if node.kind is Kind.CONTENT}
        size = sum(size for _, size in await self.content.unrecorded(recorded))
        return GcReport(
            dry_run=True, removed=_as_mappings(nodes), bytes=size, seconds=trio.current_time() - start
        )

    def _mark(self, tx: Transaction) -> tuple[Graph, set[Node]]:
        graph = gc_graph.load(tx, self.protected, self.content.active)
        return graph, reach.mark(graph, tx.now)

    async def _delete_records(self) -> _Swept:
        """Delete in a write transaction, but only if a look without one finds anything to delete."""
        graph, kept = await self.db.read(self._mark)
        for node in reach.invalid_expiries(graph):
            log.warning("expiry ignored", object=str(node), namespace=node.namespace, label="not a time")
        failpoint("collect.marked")
        if len(kept) == len(graph.objects):
            return _Swept()
        return await self.db.write(self._delete_unmarked)

    def _delete_unmarked(self, tx: Transaction) -> _Swept:
        graph, kept = self._mark(tx)
        nodes = gc_graph.children_first(graph, graph.objects.keys() - kept)
        directories = [_delete(tx, node) for node in nodes]
        return _Swept(tuple(nodes), tuple(found for found in directories if found), tx.session.deletions)

    async def _remove_files(self, directories: Iterable[Directory]) -> int:
        self._leftover.update(dict.fromkeys(directories))
        for directory in list(self._leftover):
            try:
                await self.remove_snapshot(*directory)
            except TricornError as error:
                log.warning("snapshot left for later", snapshotter=directory[0], error=str(error))
            else:
                del self._leftover[directory]
            failpoint("collect.snapshot_removed")
        removed = await self.content.sweep()
        return sum(size for _, size in removed.blobs)

    async def sweep_directories(self, snapshotter: Snapshotter) -> list[str]:
        """Remove directories of `snapshotter` that no record names: a crash leaves such. Return their ids."""
        found = await snapshotter.walk()
        in_flight = set(self.protected)  # before the records: an id leaves this set once it has one
        known = await self.db.read(lambda tx: tx.snapshots.backend_ids(snapshotter.name))
        unknown = [backend_id for backend_id in found if backend_id not in known | in_flight]
        for backend_id in unknown:
            await snapshotter.remove(backend_id)
        return unknown

    async def explain(self, namespace: str, object: str) -> GcExplanation:
        """Tell why `object` (`content/sha256:…`, `image/NAME`, `snapshot/SS/KEY`, `container/ID`,
        `lease/ID`, `ingest/REF`) is kept. InvalidArgument, NotFound.
        """
        node = gc_graph.parse_node(namespace, object)
        graph, _ = await self.db.read(self._mark)
        if node not in graph.objects:
            raise NotFound(f"{object} does not exist in namespace {namespace}")
        chain = reach.explain(graph, node, self.clock.now())
        note = "" if chain else "nothing refers to it: the next collection removes it"
        return GcExplanation(object, kept=bool(chain), chain=tuple(chain), note=note)

    async def next_expiry(self) -> datetime | None:
        """Return when time alone frees something next, None if never."""
        return await self._schedule.next_expiry()

    def trigger(self) -> None:
        """Have `run` collect soon, whatever has changed."""
        self._schedule.trigger()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Collect whenever the schedule says so, for ever. A failure is logged and tried again later."""
        task_status.started()
        await self._schedule.start_up()
        while True:
            await self._schedule.wait_until_due()
            try:
                await self.collect()
            except TricornError as error:
                log.warning("collection failed", error=error.one_line())
                self._schedule.failed()

    def statistics(self) -> dict[str, float]:
        """Return figures for people and metrics; times in seconds."""
        return self._schedule.statistics() | {"snapshots_left": len(self._leftover)}


def _delete(tx: Transaction, node: Node) -> Directory | None:
    namespace, key = node.namespace, node.key
    if node.kind is Kind.SNAPSHOT:
        snapshotter, _, name = key.partition("/")
        return snapshotter, tx.snapshots.remove(namespace, snapshotter, name).backend_id
    deletes: dict[Kind, Callable[[str, str], None]] = {
        Kind.CONTENT: tx.content.delete, Kind.IMAGE: tx.images.delete,
        Kind.LEASE: tx.leases.delete, Kind.INGEST: tx.ingests.delete,
    }  # fmt: skip
    deletes[node.kind](namespace, key)
    return None


def _as_mappings(nodes: Collection[Node]) -> tuple[dict[str, str], ...]:
    return tuple({"namespace": node.namespace, "type": str(node.kind), "key": node.key} for node in nodes)
