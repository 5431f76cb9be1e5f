"""Memory that goes to the target before the container is frozen, in rounds, so that little is left for the
freeze.

Each round is on the disk here and sent while the container runs. Whatever fails in one leaves the container
as it was; all of its memory is dumped after the freeze then, as if there had been none, and the report says
why.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

import structlog
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, TricornError, Unimplemented
from tricorn.failpoints import failpoint
from tricorn.fs import dump_files
from tricorn.fs.dump_transfer import DumpUpload
from tricorn.model.migrations import PATH, Migration
from tricorn.model.records import Task, TaskStatus
from tricorn.ports import BundleRef
from tricorn.private_directories import renew_directory
from tricorn.rules.migration_rounds import goes_on, reason_against
from tricorn.service.migration_parts import MigrationParts
from tricorn.service.migration_ways import kept_heard

if TYPE_CHECKING:
    from tricorn.service.migration_departure import Departure

log = structlog.get_logger(__name__)
_LIMITER: Final = trio.CapacityLimiter(2)
_IMAGES, _WORK = "round-", "work-"
Held = Callable[[], AbstractAsyncContextManager[Task]]


class Rounds:
    """The rounds of one migration. Within `held` nobody else does anything with the container, which runs."""

    def __init__(self, departure: Departure, ref: BundleRef, task: Task, held: Held) -> None:
        self._departure = departure
        self._parts = departure.parts
        self._ref = ref
        self._init = task.init
        self._held = held
        self._place = self._parts.place(f"out-{departure.migration.id}")
        self._sizes: list[int] = []

    async def run(self) -> None:
        """Make them. Raises nothing of what fails in one."""
        departure = self._departure
        if why := await self._reason_against():
            departure.cost(precopy=why)
            return
        await departure.advance("precopy")
        started = trio.current_time()
        try:
            await trio.to_thread.run_sync(renew_directory, self._place, limiter=_LIMITER)
            while goes_on(self._sizes, departure.request.rounds):
                await self._round(len(self._sizes) + 1)
            departure.rounds = len(self._sizes)
            departure.cost(rounds=departure.rounds, round_bytes=tuple(self._sizes))
        except (TricornError, OSError) as error:
            why = error.one_line() if isinstance(error, TricornError) else str(error)
            log.warning("a round of memory failed", id=departure.migration.id, error=why)
            await self.forget(f"round {len(self._sizes) + 1} failed: {why}"[:500])
        departure.cost(precopy_ms=round((trio.current_time() - started) * 1000))

    async def _reason_against(self) -> str:
        request = self._departure.request
        try:
            await self._parts.runtime.can_predump(self._ref.runtime)
        except Unimplemented as error:
            return error.why
        room = os.statvfs(os.path.dirname(self._parts.directory))
        memory = await self._departure.memory(self._ref)
        return reason_against(request, memory, room.f_bavail * room.f_frsize)

    async def _round(self, number: int) -> None:
        self._departure.begin_part("precopy", 0)
        images = f"{self._place}/{_IMAGES}{number}"
        path = f"{PATH}/{self._departure.migration.id}"
        async with kept_heard(self._departure.link, path):
            await self._dump(number, images)
        upload = await trio.to_thread.run_sync(DumpUpload, images, self._departure.sent, limiter=_LIMITER)
        self._departure.begin_part("precopy", upload.length)
        await self._departure.link.send("PUT", f"{path}/rounds/{number}", upload)
        self._sizes.append(upload.length)
        failpoint("departure.round")

    async def _dump(self, number: int, images: str) -> None:
        """Dump what was written to since the last round, of the same processes: a container that was
        started anew has others of the same numbers.
        """
        work = f"{self._place}/{_WORK}{number}"
        async with self._held() as task:
            if task.init != self._init:
                raise FailedPrecondition("the container was started anew meanwhile")
            await trio.to_thread.run_sync(_make, images, work, limiter=_LIMITER)
            parent = f"../{_IMAGES}{number - 1}" if number > 1 else ""
            with trio.CancelScope(shield=True):  # a CRIU that is cut short could leave threads stopped
                options = self._departure.dump_options()
                await self._parts.runtime.predump(self._ref, images, work, options, parent)
                await trio.to_thread.run_sync(dump_files.close_up, images, limiter=_LIMITER)
        failpoint("departure.predumped")

    async def check(self, task: Task) -> None:
        """Have the dump after the freeze stand on none, if it is of other processes than the rounds were."""
        if self._departure.rounds and task.init != self._init:
            await self.forget("the container was started anew meanwhile")

    async def forget(self, why: str) -> None:
        """Have the dump after the freeze stand on none of them: what was written to since is not known."""
        with trio.CancelScope(shield=True):
            self._departure.rounds = 0
            self._departure.cost(precopy=why, rounds=0, round_bytes=())
            await leave(self._parts, self._departure.migration)


async def leave(parts: MigrationParts, migration: Migration) -> None:
    """After rounds that came to nothing, those of an agent that was killed, too: see that the container
    runs, unless somebody paused it, and remove them. Idempotent.
    """
    place = parts.place(f"out-{migration.id}")
    for name in await trio.to_thread.run_sync(_names, place, limiter=_LIMITER):
        await parts.runtime.settle_dump(f"{place}/{name}", limits.DUMP_SETTLE)
    try:
        container, task = await parts.lifecycle.records(migration.namespace, migration.container)
        if task is not None and task.status is TaskStatus.RUNNING:
            # a CRIU that was killed leaves it frozen
            await parts.runtime.resume(parts.lifecycle.bundles.ref(migration.namespace, container, task))
    except TricornError as error:  # it has ended meanwhile
        log.info("not resumed", container=migration.container, why=error.one_line())
    await parts.clear(f"out-{migration.id}")


def parent_of(rounds: int) -> str:
    """Return where the latest round lies, as the dump after the freeze sees it."""
    return f"../{_IMAGES}{rounds}" if rounds else ""


def _names(place: str) -> list[str]:
    try:
        return [name for name in os.listdir(place) if name.startswith(_IMAGES)]
    except FileNotFoundError:
        return []


def _make(*places: str) -> None:
    for place in places:
        os.mkdir(place, 0o700)
