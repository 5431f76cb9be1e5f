"""A transfer's progress in the words of containerd's clients: one line for each change of each part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from attrs import define, field

from tricorn.model.oci import Descriptor
from tricorn.model.requests import ObjectPhase, ObjectProgress, Progress
from tricorn.model.transfer import Tell, TransferEvent
from tricorn.ports import PushOutcome
from tricorn.service.nurseries import typed_nursery
from tricorn.service.progress import INTERVAL, Reporter, kind_of
from tricorn.service.push import PushWatcher

_EVENTS: Final = {
    "wait": "waiting",
    "download": "downloading",
    "verify": "downloading",
    "read": "importing",
    "write": "exporting",
    "upload": "uploading",
    "unpack": "extracting",
    "skipped": "already exists",
    "done": "complete",
}
_OVER: Final = frozenset({"complete", "mounted", "already exists"})


def key_of(descriptor: Descriptor) -> str:
    """Return the name of a part in progress messages: its kind and its digest."""
    kind = kind_of(descriptor.media_type)
    return f"{'unknown' if kind == 'other' else kind}-{descriptor.digest}"


def silent(event: TransferEvent) -> None:
    """Tell nobody."""


@define
class _Part:
    descriptor: Descriptor
    parents: tuple[str, ...]
    told: tuple[str, int] = ("", -1)


@define
class Parts:
    """The parts of one transfer. Tells each change once. `root` is the name of the image."""

    root: str
    tell: Tell
    _parts: dict[str, _Part] = field(factory=dict)

    def known(self, descriptor: Descriptor, parent: Descriptor | None) -> None:
        """`descriptor` is part of the transfer; `parent`, if not the image itself, names it."""
        above = key_of(parent) if parent else self.root
        part = self._parts.get(descriptor.digest)
        if part is None:
            self._parts[descriptor.digest] = _Part(descriptor, (above,))
            self._say(descriptor.digest, "waiting", 0)
        elif above not in part.parents:
            part.parents = (*part.parents, above)

    @asynccontextmanager
    async def following(self, reporter: Reporter) -> AsyncIterator[None]:
        """Tell what `reporter` shows while the context is open, and the last of it; nothing to nobody."""
        if self.tell is silent:
            yield
            return
        async with typed_nursery() as nursery:
            nursery.start_soon(self._follow, reporter)
            yield
            nursery.cancel_scope.cancel()
        self.show(reporter.latest)

    async def _follow(self, reporter: Reporter) -> None:
        version = 0
        while True:
            version, progress = reporter.since(version)
            if progress is not None:
                self.show(progress)
            await trio.sleep(INTERVAL)

    def show(self, progress: Progress) -> None:
        """Tell what is new in it."""
        for each in progress.objects:
            event = _EVENTS.get(each.phase, each.phase)
            self._say(each.digest, event, _done(each))

    def _say(self, digest: str, event: str, progress: int) -> None:
        """Tell what happens to a part, unless that was said before. Nothing follows its completion."""
        part = self._parts.get(digest)
        if part is None or part.told == (event, progress) or part.told[0] in _OVER:
            return
        part.told = event, progress
        total = part.descriptor.size
        name = key_of(part.descriptor)
        self.tell(TransferEvent(event, name, part.parents, progress, total, part.descriptor))


def _done(each: ObjectProgress) -> int:
    return each.unpacked if each.phase == "unpack" else each.offset


class PushBoard(PushWatcher):
    """Shows a push as progress, and names its parts to `parts` for those who want them told."""

    def __init__(self, reporter: Reporter, parts: Parts | None = None) -> None:
        self._reporter = reporter
        self._parts = parts

    def known(self, descriptor: Descriptor, parent: Descriptor | None) -> None:
        self._reporter.item(descriptor)
        if self._parts:
            self._parts.known(descriptor, parent)

    def sent(self, descriptor: Descriptor, offset: int) -> None:
        item = self._reporter.item(descriptor)
        item.phase, item.offset = "upload", offset

    def done(self, descriptor: Descriptor, outcome: PushOutcome) -> None:
        self._reporter.item(descriptor).finish(_OUTCOMES[outcome])


_OUTCOMES: Final[dict[PushOutcome, ObjectPhase]] = {
    "pushed": "done", "exists": "skipped", "mounted": "mounted",
}  # fmt: skip
