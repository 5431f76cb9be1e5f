"""Garbage collection: mark and delete the records in one transaction, then remove what they stood for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Final, Protocol

import structlog
import trio
from attrs import frozen

from tricorn.errors import NotFound, TricornError
from tricorn.failpoints import failpoint
from tricorn.model.requests import GcExplanation, GcKeeper, GcReport
from tricorn.ports import Clock, Snapshotter
from tricorn.rules import reach, reasons
from tricorn.rules.reach import Graph, Kind, Node
from tricorn.rules.reasons import Fate
from tricorn.store import gc_graph
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.gc_graph import Outside
from tricorn.store.gc_schedule import Pace, Schedule
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)

SnapshotRemover = Callable[[str, str], Awaitable[None]]
Directory = tuple[str, str]  # snapshotter, backend id


_OUTSIDE: Final = frozenset({Kind.MOUNT, Kind.STREAM})


class Collectible(Protocol):
    """A kind of things outside the records that leases and labels keep."""

    def outside(self) -> Sequence[Outside]:
        """Return all there are now. Those that nothing else keeps and nothing pins are removed."""
        ...

    async def collect(self, node: Node) -> None:
        """Remove one, if it is still there. A TricornError leaves it to the next collection."""
        ...


@frozen
class _Swept:
    """What one transaction deleted; `outside` is left to do."""

    nodes: tuple[Node, ...] = ()
    outside: tuple[Node, ...] = ()
    directories: tuple[Directory, ...] = ()
    deletions: int = 0


class Collector:
    """Removes what nothing keeps. `remove_snapshot(snapshotter, backend_id)` removes a directory whose
    record is gone; it is repeated at the next collection if it fails.

    `protected` holds the backend ids of snapshots that an operation works on, whether they have records
    yet or not: add before the directory is made, discard once the record (with its lease) is on disk.
    """

    def __init__(
        self,
        db: Database,
        content: ContentStore,
        remove_snapshot: SnapshotRemover,
        clock: Clock,
        pace: Pace | None = None,
    ) -> None:
        self.db = db
        self.content = content
        self.remove_snapshot = remove_snapshot
        self.clock = clock
        self.protected: set[str] = set()
        self.collectibles: dict[Kind, Collectible] = {}
        self._schedule = Schedule(db, clock, pace or Pace())
        self._scheduled = False  # somebody runs `run`
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
            gone = swept.nodes + tuple([node for node in swept.outside if await self._remove_outside(node)])
            seconds = trio.current_time() - start
            self._schedule.end(before, swept.deletions, seconds)
            if gone or size:
                log.info("garbage collected", objects=len(gone), bytes=size, seconds=round(seconds, 4))
            return GcReport(dry_run=False, removed=_as_mappings(gone), bytes=size, seconds=seconds)

    def _outside(self) -> list[Outside]:
        return [item for kind in self.collectibles.values() for item in kind.outside()]

    async def _remove_outside(self, node: Node) -> bool:
        try:
            await self.collectibles[node.kind].collect(node)
        except TricornError as error:
            log.warning("left for later", object=str(node), namespace=node.namespace, error=error.one_line())
            return False
        return True

    async def _would_remove(self, start: float) -> GcReport:
        outside = self._outside()
        graph, kept = await self.db.read(lambda tx: self._mark(tx, outside))
        nodes = gc_graph.children_first(graph, graph.objects.keys() - kept)
        recorded = {node.key for node in kept if node.kind is Kind.CONTENT}
        size = sum(size for _, size in await self.content.unrecorded(recorded))
        return GcReport(
            dry_run=True, removed=_as_mappings(nodes), bytes=size, seconds=trio.current_time() - start
        )

    def _mark(self, tx: Transaction, outside: Collection[Outside]) -> tuple[Graph, set[Node]]:
        graph = gc_graph.load(tx, self.protected, self.content.active, outside)
        return graph, reach.mark(graph, tx.now)

    async def _delete_records(self) -> _Swept:
        """Delete in a write transaction, but only if a look without one finds anything to delete."""
        outside = self._outside()
        graph, kept = await self.db.read(lambda tx: self._mark(tx, outside))
        for node in reach.invalid_expiries(graph):
            log.warning("expiry ignored", object=str(node), namespace=node.namespace, label="not a time")
        failpoint("collect.marked")
        if len(kept) == len(graph.objects):
            return _Swept()
        return await self.db.write(lambda tx: self._delete_unmarked(tx, outside))

    def _delete_unmarked(self, tx: Transaction, outside: Collection[Outside]) -> _Swept:
        graph, kept = self._mark(tx, outside)
        unmarked = gc_graph.children_first(graph, graph.objects.keys() - kept)
        nodes = tuple(node for node in unmarked if node.kind not in _OUTSIDE)
        others = tuple(node for node in unmarked if node.kind in _OUTSIDE)
        directories = [found for found in (_delete(tx, node) for node in nodes) if found]
        return _Swept(nodes, others, tuple(directories), tx.session.deletions)

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
        await self.db.flushed()  # a record that comes back after a loss of power needs its directory
        unknown = [backend_id for backend_id in found if backend_id not in known | in_flight]
        for backend_id in unknown:
            await snapshotter.remove(backend_id)
        return unknown

    async def explain(self, namespace: str, object: str) -> GcExplanation:
        """Tell what keeps `object` (`content/sha256:…`, `image/NAME`, `snapshot/SS/KEY`, `container/ID`,
        `sandbox/ID`, `lease/ID`, `ingest/REF`, `mount/NAME`, `stream/ID`) and until when, or why nothing
        does and when it goes. InvalidArgument, NotFound.
        """
        node = gc_graph.parse_node(namespace, object)
        outside = self._outside()
        graph, _ = await self.db.read(lambda tx: self._mark(tx, outside))
        if node not in graph.objects:
            raise NotFound(f"{object} does not exist in namespace {namespace}")
        due = self._schedule.due_at() if self._scheduled else None
        return explanation(object, reasons.fate(graph, node, self.clock.now()), due)

    async def next_expiry(self) -> datetime | None:
        """Return when time alone frees something next, None if never."""
        return await self._schedule.next_expiry()

    def trigger(self) -> None:
        """Have `run` collect soon, whatever has changed."""
        self._schedule.trigger()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Collect whenever the schedule says so, for ever. A failure is logged and tried again later."""
        self._scheduled = True
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
        Kind.CONTENT: tx.content.discard, Kind.IMAGE: tx.images.delete,
        Kind.LEASE: tx.leases.delete, Kind.INGEST: tx.ingests.delete,
    }  # fmt: skip
    deletes[node.kind](namespace, key)
    return None


def explanation(object: str, fate: Fate, due: datetime | None) -> GcExplanation:
    """Put what is to be said of an object into words; `due` is when the next collection is, if known."""
    keepers = tuple(GcKeeper(str(item.node), item.reason, item.until) for item in fate.keepers)
    if not fate.kept:
        when = f", at {reach.shown(due)}" if due else ""
        why = "; ".join(fate.lapsed) or "nothing refers to it"
        note = f"{why}: the next collection removes it{when}"
    elif fate.until:
        note = f"it goes after {reach.shown(fate.until)}, unless something else keeps it by then"
    else:
        note = "it stays until what keeps it is deleted"
    return GcExplanation(
        object, fate.kept, fate.chain, note, keepers, fate.until, fate.lapsed, None if fate.kept else due
    )


def _as_mappings(nodes: Collection[Node]) -> tuple[dict[str, str], ...]:
    return tuple({"namespace": node.namespace, "type": str(node.kind), "key": node.key} for node in nodes)
