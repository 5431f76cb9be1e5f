"""Verification of blobs on disk: in idle time for ever, and at once when somebody asks for it.

A blob is read again when that was longest ago, so that a restart goes on where the last run stopped. What is
damaged or missing goes into quarantine: no namespace has it any more, a pull brings it anew, and where the
configuration allows it the agent itself does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog
import trio
from attrs import Factory, define

from tricorn import limits
from tricorn.errors import FailedPrecondition, TricornError
from tricorn.failpoints import failpoint
from tricorn.model.ids import Digest
from tricorn.model.records import QuarantinedBlob
from tricorn.model.scrubbing import BlobCheck, OrphanFile, ScrubReport, ScrubSettings, ScrubStatus
from tricorn.ports import Clock
from tricorn.service.progress import Reporter
from tricorn.service.refetch import Refetcher
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.verify import BlobReading

log = structlog.get_logger(__name__)
audit_log = structlog.get_logger("audit")

_START: Final = 120.0  # seconds after the agent's start, which is busy enough
_ROUND: Final = 600.0  # seconds between two looks for what is due
_PATIENCE: Final = 60.0  # seconds that a slice waits for other work to end, at most
_LOOK: Final = 1.0
_LIMITER: Final = trio.CapacityLimiter(2)


@define
class _Found:
    """What one verification has come to."""

    checked: int = 0
    bytes: int = 0
    damaged: set[Digest] = Factory(set)


@define
class _Total:
    """What all have come to since the agent's start."""

    checked: int = 0
    bytes: int = 0
    damaged: int = 0
    restored: int = 0


class ScrubService:
    """`busy` tells whether the node has better things to do; `start` is when the first round begins, in
    seconds after `run` is called.
    """

    def __init__(
        self,
        db: Database,
        content: ContentStore,
        refetcher: Refetcher,
        clock: Clock,
        settings: ScrubSettings,
        busy: Callable[[], bool] = lambda: False,
        *,
        start: float = _START,
    ) -> None:
        self._db = db
        self._content = content
        self._refetcher = refetcher
        self._clock = clock
        self._settings = settings
        self._busy = busy
        self._start = start
        self._total = _Total()
        self._current: BlobReading | None = None
        self._asked = trio.Lock()

    # ------------------------------------------------------------ in idle time
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Verify whatever is due, for ever. A failure is logged; the next round tries again."""
        task_status.started()
        await trio.sleep(self._start)
        while True:
            try:
                await self.round()
            except TricornError as error:
                log.warning("verification failed", error=error.one_line())
            await trio.sleep(_ROUND)

    async def round(self) -> None:
        """Verify all that is due now, at the configured rate."""
        before = self._clock.now() - timedelta(seconds=self._settings.interval)
        recorded = await self._db.read(lambda tx: tx.blob_checks.recorded())
        await self._compare_files(recorded)
        due = dict(await self._db.read(lambda tx: tx.blob_checks.due(before)))
        suspects = {digest: recorded[digest] for digest in self._content.suspects if digest in recorded}
        for digest, size in {**suspects, **due}.items():
            await self._verify(digest, size, paced=True)
        if self._settings.refetch:
            await self._bring_back()
        await self._db.write(lambda tx: tx.blob_checks.trim(), durable=False)
        await self._let_go()

    async def _let_go(self) -> None:
        """Remove what is long in quarantine and missed by nobody: a failing disk would fill up with it."""
        end = self._clock.now() - timedelta(seconds=limits.QUARANTINE_SECONDS)
        for found in await self.quarantined():
            if not found.namespaces and found.found_at and found.found_at < end:
                await self._content.release_quarantined(found.digest)

    async def _rest(self, read: int, seconds: float) -> None:
        """Give way after a slice of so many bytes and seconds: keep to the rate, let other work go first."""
        await trio.sleep(max(0.0, read / self._settings.rate - seconds))
        with trio.move_on_after(_PATIENCE):
            while self._busy():  # noqa: ASYNC110 - nothing tells when all kinds of work have ended
                await trio.sleep(_LOOK)

    # ------------------------------------------------------------ when asked
    async def scrub(
        self, namespace: str = "", *, keep_orphans: bool = False, report: Reporter | None = None
    ) -> ScrubReport:
        """Verify all blobs (of one namespace, if it is given) now and at full speed. Files that no record
        names are removed, unless they are to be kept. One at a time: FailedPrecondition.
        """
        if self._asked.locked():
            raise FailedPrecondition("a verification is under way", hint="wait for it to end")
        reporter = report or Reporter()
        async with self._asked:
            start = trio.current_time()
            recorded = await self._db.read(lambda tx: tx.blob_checks.recorded(namespace))
            found = await self._verify_all(recorded, reporter)
            restored, failed = await self._bring_back() if self._settings.refetch else ((), ())
            orphans, leftovers = await self._orphans(keep=keep_orphans)
            damaged = [each for each in await self.quarantined() if each.digest in found.damaged]
            return ScrubReport(
                found.checked, found.bytes, tuple(damaged), restored, failed, orphans, leftovers,
                round(trio.current_time() - start, 3),
            )  # fmt: skip

    async def _verify_all(self, recorded: dict[Digest, int], reporter: Reporter) -> _Found:
        found, total = _Found(), sum(recorded.values())
        for digest, size in recorded.items():
            reporter.report("verify", str(digest), offset=found.bytes, total=total)
            if await self._verify(digest, size, paced=False):
                found.damaged.add(digest)
            found.checked += 1
            found.bytes += size
        return found

    async def _orphans(self, *, keep: bool) -> tuple[tuple[OrphanFile, ...], int]:
        if keep:
            known = await self._db.read(lambda tx: tx.content.digests())
            files = await self._content.unrecorded(known)
            return tuple(OrphanFile(*item) for item in files), 0
        removed = await self._content.sweep()
        leftovers = removed.ingests + await self._content.sweep_quarantine()
        return tuple(OrphanFile(*item) for item in removed.blobs), leftovers

    # ------------------------------------------------------------ one blob
    async def _compare_files(self, recorded: dict[Digest, int]) -> None:
        """Look whether every recorded blob has a file of its size, which takes no reading."""

        def look() -> list[BlobReading]:
            readings = [self._content.reading(digest, size) for digest, size in recorded.items()]
            return [reading for reading in readings if not _opens(reading)]

        for reading in await trio.to_thread.run_sync(look, limiter=_LIMITER):
            await self._quarantine(reading)

    async def _verify(self, digest: Digest, size: int, *, paced: bool) -> bool:
        """Read a blob again; return whether it had to be taken out of service."""
        reading = self._content.reading(digest, size)
        try:
            more = await trio.to_thread.run_sync(reading.open, limiter=_LIMITER)
            self._current = reading
            while more and size:
                start, offset = trio.current_time(), reading.offset
                more = await trio.to_thread.run_sync(reading.step, limiter=_LIMITER)
                if paced:
                    await self._rest(reading.offset - offset, trio.current_time() - start)
            if not size and not reading.damage:
                await trio.to_thread.run_sync(reading.step, limiter=_LIMITER)
        finally:
            self._current = None
            reading.close()
        self._total.checked += 1
        self._total.bytes += reading.offset
        if reading.damage:
            return await self._quarantine(reading)
        failpoint("scrub.verified")
        self._content.suspects.discard(digest)
        await self._db.write(lambda tx: tx.blob_checks.passed(digest), durable=False)
        return False

    async def _quarantine(self, reading: BlobReading) -> bool:
        namespaces = await self._content.quarantine(reading)
        if not namespaces:
            return False  # deleted or replaced while it was read
        self._total.damaged += 1
        facts = {"digest": str(reading.digest), "why": reading.damage, "namespaces": namespaces}
        log.error("content quarantined", **facts)
        audit_log.info("quarantined", logger="audit", **facts)
        return True

    async def _bring_back(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Fetch what namespaces miss from where it came; return the digests that did, and why others not."""
        waiting = await self._db.read(lambda tx: tx.quarantine.waiting())
        restored, failed = [], []
        for digest in waiting:
            try:
                await self._refetcher.fetch(digest)
            except TricornError as error:
                log.warning("content not restored", digest=str(digest), error=error.one_line())
                failed.append(f"{digest}: {error.one_line()}")
            else:
                restored.append(str(digest))
        self._total.restored += len(restored)
        return tuple(restored), tuple(failed)

    # ------------------------------------------------------------ the quarantine
    async def quarantined(self) -> list[QuarantinedBlob]:
        """Return the blobs that were taken out of service, by digest, with those that are back."""
        return await self._db.read(lambda tx: tx.quarantine.all())

    async def fetch(self, digest: str) -> QuarantinedBlob:
        """Bring a blob in quarantine back from where its labels say it came from, whatever the
        configuration allows the agent to do by itself. NotFound; FailedPrecondition without a source.
        """
        checked = Digest.parse(digest)
        found = await self._db.read(lambda tx: tx.quarantine.get(checked))
        if found.namespaces:
            await self._refetcher.fetch(checked)
            self._total.restored += 1
        return await self._db.read(lambda tx: tx.quarantine.get(checked))

    async def release(self, digest: str, *, force: bool = False) -> QuarantinedBlob:
        """Remove a blob from quarantine, file and all. NotFound; FailedPrecondition, unless it is forced,
        while namespaces wait for the blob: what its labels keep would go with it.
        """
        checked = Digest.parse(digest)
        found = await self._db.read(lambda tx: tx.quarantine.get(checked))
        if found.namespaces and not force:
            raise FailedPrecondition(
                f"content {checked} is still missed",
                why=f"by the namespaces {', '.join(found.namespaces)}",
                hint="bring it back (`tricorn content quarantine fetch`, or pull its image), or force it",
            )
        return await self._content.release_quarantined(checked)

    # ------------------------------------------------------------ figures
    async def check_of(self, namespace: str, digest: str) -> BlobCheck:
        """Tell when a blob of the namespace was last verified. NotFound."""
        info = await self._content.info(namespace, Digest.parse(digest))
        at = await self._db.read(lambda tx: tx.blob_checks.at(info.digest))
        return BlobCheck(info.digest, info.size, at)

    async def status(self) -> ScrubStatus:
        """Tell how far the verification in idle time has come."""
        blobs, (never, oldest), found = await self._db.read(
            lambda tx: (len(tx.content.digests()), tx.blob_checks.oldest(), tx.quarantine.all())
        )
        settings, total, current = self._settings, self._total, self._current
        return ScrubStatus(
            settings.enabled, settings.interval, settings.rate, settings.refetch, blobs, never, oldest,
            len(found), sum(bool(each.namespaces) for each in found),
            str(current.digest) if current else "", current.offset if current else 0,
            total.checked, total.bytes, total.damaged, total.restored,
        )  # fmt: skip

    def statistics(self) -> dict[str, float]:
        """Return counts since the start for metrics."""
        total = self._total
        return {
            "checked": total.checked, "bytes": total.bytes, "damaged": total.damaged,
            "restored": total.restored,
        }  # fmt: skip


def _opens(reading: BlobReading) -> bool:
    try:
        return reading.open(keep_cache=True)
    finally:
        reading.close()
