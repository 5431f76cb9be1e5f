"""Dumping a container: frozen, written out by CRIU, brought into the content store, let go again.

The container stands still from the freeze on, until its memory and, if wanted, its file system are taken. It
is ended, if that was asked for, only once all is on record: whatever is cut short before, it goes on running.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog
import trio
from attrs import define, evolve, frozen

from tricorn import limits
from tricorn.errors import AlreadyExists, FailedPrecondition, NotFound, TricornError
from tricorn.failpoints import failpoint
from tricorn.fs import dump_files
from tricorn.model import checkpoints
from tricorn.model.checkpoints import DumpOptions
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.records import Container, Task, TaskStatus
from tricorn.ports import BundleRef, CheckpointRuntime
from tricorn.private_directories import renew_directory
from tricorn.rules import packed
from tricorn.service.lifecycle import Lifecycle, shielded
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_LIMITER = trio.CapacityLimiter(2)
_ENDED_NOTE = "checkpointed"


@define
class Taken:
    """What was taken of a container; `dump` and `config` are in the content store."""

    container: Container
    task: Task
    dump: Descriptor | None = None  # None: it stays in the directory that was asked for
    config: Descriptor | None = None
    frozen: float = 0.0  # seconds that the container stood still
    ended: bool = False


WhileFrozen = Callable[[Taken], Awaitable[None]]


@frozen
class _Places:
    images: str
    work: str


class Dumper:
    """`directory` (below the root directory) holds a dump until its bytes are in the content store."""

    def __init__(
        self, directory: str, db: Database, content: ContentStore, runtime: CheckpointRuntime,
        lifecycle: Lifecycle,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._db = db
        self._content = content
        self._runtime = runtime
        self._lifecycle = lifecycle

    def place(self, namespace: str, container_id: str) -> str:
        """Return where the dump of a container lies while it is made."""
        return os.path.join(self._directory, namespace, container_id)

    async def take(
        self,
        namespace: str,
        container_id: str,
        options: DumpOptions,
        *,
        lease: str = "",
        images: str = "",
        work: str = "",
        while_frozen: WhileFrozen | None = None,
        record: WhileFrozen | None = None,
    ) -> Taken:
        """Dump a running or paused container. `images` and `work` are directories of the client's own, where
        the dump is to stay and the log to go. `record` is awaited once all is in the content store.

        FailedPrecondition unless it runs, and with CRIU's words when it can't be dumped: it then runs on.
        Unimplemented, with the remedy, when this node or the container's runtime can't dump.
        """
        async with self._lifecycle.locks.hold(namespace, container_id):
            ref, container, task = await self._lifecycle.live(namespace, container_id)
            if task.restoring or task.init is None:
                raise FailedPrecondition(f"container {container_id} is not running", hint="start it first")
            await self._runtime.can_checkpoint(ref.runtime)
            taken = Taken(container, task)
            async with self._announced(ref), self._place(ref, images, work) as places:

                async def keep() -> None:
                    if not images:
                        await self._store(ref, places.images, taken, lease)
                    if record:
                        await record(taken)
                    failpoint("checkpoint.recorded")

                async with self._frozen(ref, options, taken):
                    await self._dump(ref, places, options)
                    if while_frozen:
                        await while_frozen(taken)
                    if not options.leave_running:
                        await keep()
                        await self._end(ref, taken)
                if options.leave_running:
                    await keep()
            await self._db.write(partial(_tell, ref))
        return taken

    @asynccontextmanager
    async def _announced(self, ref: BundleRef) -> AsyncIterator[None]:
        intent = await self._db.write(
            lambda tx: tx.intents.begin(ref.namespace, "checkpoint", ref.id, {"runtime": ref.runtime})
        )
        failpoint("checkpoint.intent")
        try:
            yield
        finally:
            await shielded(self._db.write, lambda tx: tx.intents.end(intent.id))

    @asynccontextmanager
    async def _place(self, ref: BundleRef, images: str, work: str) -> AsyncIterator[_Places]:
        top = self.place(ref.namespace, ref.id)
        await trio.to_thread.run_sync(partial(_make, top), limiter=_LIMITER)
        try:
            yield _Places(images or os.path.join(top, "images"), work or os.path.join(top, "work"))
        finally:
            await shielded(self.clear, ref.namespace, ref.id)

    @asynccontextmanager
    async def _frozen(self, ref: BundleRef, options: DumpOptions, taken: Taken) -> AsyncIterator[None]:
        """Keep the container still; afterwards it runs, unless it was paused before or has been ended."""
        paused = taken.task.status is TaskStatus.PAUSED
        started = trio.current_time()
        try:
            if not paused and not _ended_by_criu(options):
                await self._runtime.pause(ref)
            failpoint("checkpoint.frozen")
            yield
        finally:
            if not paused and not taken.ended:
                await shielded(self._resume, ref)
            taken.frozen = trio.current_time() - started
            failpoint("checkpoint.thawed")

    async def _resume(self, ref: BundleRef) -> None:
        try:
            await self._runtime.resume(ref)
        except TricornError as error:  # it has ended meanwhile
            log.info("not resumed", container=ref.id, why=error.one_line())

    async def _dump(self, ref: BundleRef, places: _Places, options: DumpOptions) -> None:
        # connections that live on must never see the end of the first copy: CRIU locks them, and ends it
        leave = not _ended_by_criu(options)
        with trio.CancelScope(shield=True):  # a CRIU that is cut short could leave threads stopped
            await self._runtime.checkpoint(
                ref, places.images, places.work, evolve(options, leave_running=leave)
            )
            await trio.to_thread.run_sync(dump_files.close_up, places.images, limiter=_LIMITER)

    # ------------------------------------------------------------ content
    async def _store(self, ref: BundleRef, images: str, taken: Taken, lease: str) -> None:
        def pack(write: Callable[[bytes], Awaitable[None]]) -> None:
            dump_files.pack(images, lambda data: trio.from_thread.run(write, data))

        taken.dump = await self._ingest(ref, checkpoints.DUMP, lease, pack)
        data = packed.any_of(taken.container.spec_type or packed.OCI_SPEC, taken.container.spec)
        taken.config = await self.put(ref.namespace, checkpoints.CONFIG, data, f"{ref.id}-spec", lease)
        failpoint("checkpoint.stored")

    async def _ingest(
        self, ref: BundleRef, media_type: str, lease: str,
        pack: Callable[[Callable[[bytes], Awaitable[None]]], None],
    ) -> Descriptor:  # fmt: skip
        name = f"checkpoint-{ref.namespace}-{ref.id}"
        async with self._content.writer(ref.namespace, name, lease=lease) as writer:
            if writer.offset:
                await writer.truncate()
            await trio.to_thread.run_sync(pack, writer.write, limiter=_LIMITER)
            digest, size = writer.digest, writer.offset
            await _committed(writer.commit(size=size, labels={checkpoints.PRIVATE: "true"}))
        return Descriptor(media_type, digest, size)

    async def put(
        self, namespace: str, media_type: str, data: bytes, name: str, lease: str,
        labels: dict[str, str] | None = None,
    ) -> Descriptor:  # fmt: skip
        """Store a small part of a checkpoint; one that is there already is kept."""
        secret = {checkpoints.PRIVATE: "true"} if checkpoints.is_secret(media_type) else {}
        async with self._content.writer(namespace, f"checkpoint-{name}", lease=lease) as writer:
            if writer.offset:
                await writer.truncate()
            await writer.write(data)
            digest: Digest = writer.digest
            await _committed(writer.commit(size=len(data), labels={**secret, **(labels or {})}))
        return Descriptor(media_type, digest, len(data))

    # ------------------------------------------------------------ the end, and after a crash
    async def _end(self, ref: BundleRef, taken: Taken) -> None:
        """End a container whose dump is on record; its end is told as that of a checkpoint."""
        assert taken.task.init is not None, "it runs"
        taken.ended = True
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            with suppress(NotFound):
                await self._runtime.kill(ref, taken.task.init, signal.SIGKILL, all=True)
            await self._resume(ref)  # what CRIU killed while it was frozen ends when it is thawed
            await self._lifecycle.supervisor.ended(ref.namespace, ref.id)
            await self._db.write(partial(_note_end, ref))
        failpoint("checkpoint.ended")

    async def clear(self, namespace: str, container_id: str) -> None:
        """Remove the files of a dump; idempotent."""
        top = self.place(namespace, container_id)
        await trio.to_thread.run_sync(partial(shutil.rmtree, top, ignore_errors=True), limiter=_LIMITER)

    async def recover(self, ref: BundleRef, task: Task | None) -> None:
        """After the end of an agent amid a dump: let CRIU finish, then the container run, and clear up."""
        await self._runtime.settle_dump(
            os.path.join(self.place(ref.namespace, ref.id), "images"), limits.DUMP_SETTLE
        )
        if task and task.status is TaskStatus.RUNNING:
            await self._resume(ref)
        await self.clear(ref.namespace, ref.id)


def _ended_by_criu(options: DumpOptions) -> bool:
    return options.tcp_established and not options.leave_running


def _make(top: str) -> None:
    renew_directory(top)
    for name in ("images", "work"):
        os.mkdir(os.path.join(top, name), 0o700)


async def _committed(commit: Awaitable[object]) -> None:
    try:
        await commit
    except AlreadyExists:  # the same bytes, and the lease has them now
        return


def _tell(ref: BundleRef, tx: Transaction) -> None:
    tx.events.publish(ref.namespace, "/tasks/checkpointed", {"container_id": ref.id, "checkpoint": ""})


def _note_end(ref: BundleRef, tx: Transaction) -> None:
    try:
        task = tx.tasks.get(ref.namespace, ref.id)
    except NotFound:
        return
    if task.status is TaskStatus.STOPPED:
        tx.tasks.put(ref.namespace, evolve(task, exit_note=_ENDED_NOTE))
