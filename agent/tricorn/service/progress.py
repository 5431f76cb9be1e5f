"""The progress of long work. The work notes what it does, which costs it next to nothing; whoever watches
takes samples, each at their own pace. So nobody is flooded, and a slow reader holds nobody up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Final, Protocol

from attrs import define, evolve, field

from tricorn import limits
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    DOCKER_CONFIG,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_CONFIG,
    Descriptor,
    layer_types,
)
from tricorn.model.requests import ObjectPhase, ObjectProgress, Progress

INTERVAL: Final = 0.1  # seconds between two lines for one reader
OVER: Final = frozenset({"done", "skipped", "mounted"})
_THERE: Final = frozenset({"skipped", "mounted"})  # bytes that didn't have to move
_BULK: Final = frozenset({"layer", "other"})  # documents are too small to tell a rate
_RATE_WINDOW: Final = 3.0  # seconds over which a rate is averaged
_SHORTEST: Final = 0.05  # seconds that say something about a rate


class Reported(Protocol):
    """Something that tells its state when it is asked; the rates are found out by whoever asks."""

    def progress(self) -> ObjectProgress: ...


@define(eq=False)
class Item:
    """An object whose state the work keeps up to date by setting `phase` and `offset`."""

    descriptor: Descriptor
    phase: ObjectPhase = "wait"
    offset: int = 0

    def finish(self, phase: ObjectPhase = "done") -> None:
        self.phase, self.offset = phase, self.descriptor.size

    def progress(self) -> ObjectProgress:
        each = self.descriptor
        return ObjectProgress(str(each.digest), kind_of(each.media_type), self.phase, each.size, self.offset)


def kind_of(media_type: str) -> str:
    """Return what an object is to people: index, manifest, config, layer or other."""
    if media_type in MANIFEST_TYPES:
        return "manifest"
    if media_type in INDEX_TYPES:
        return "index"
    if media_type in layer_types():
        return "layer"
    return "config" if media_type in {OCI_CONFIG, DOCKER_CONFIG} else "other"


class _Rate:
    """Bytes per second of a growing count over its last moments, which begin when it first grows."""

    __slots__ = ("_samples",)

    def __init__(self, now: float, count: int) -> None:
        self._samples = deque([(now, count)])

    def at(self, now: float, count: int) -> float:
        samples = self._samples
        if count < samples[-1][1] or (len(samples) == 1 and count == samples[0][1]):
            samples.clear()
        if not samples or now - samples[-1][0] >= _SHORTEST:
            samples.append((now, count))
        while len(samples) > 2 and now - samples[0][0] > _RATE_WINDOW:
            samples.popleft()
        (start, before), (end, after) = samples[0], samples[-1]
        return round((after - before) / (end - start), 1) if end > start else 0.0


@define
class _Seen:
    """An object as the last sample showed it, and the version of the progress that it changed with."""

    shown: ObjectProgress
    rate: _Rate
    version: int


def _nothing() -> None:
    pass


@define(eq=False)
class Reporter:
    """Takes what one piece of work says of itself; `changed` is called when a sample may find news."""

    operation: str = ""
    changed: Callable[[], None] = _nothing
    expected: int = field(default=0, kw_only=True)  # bytes that the client announced, 0 when it didn't
    _whole: Progress = field(init=False)
    _phase: str = field(init=False, default="started")
    _told: tuple[int, int] | None = field(init=False, default=None)
    _items: dict[Digest, Item] = field(init=False, factory=dict)
    _boards: list[Sequence[Reported]] = field(init=False, factory=list)
    _seen: dict[str, _Seen] = field(init=False, factory=dict)
    _rate: _Rate = field(init=False)
    _version: int = field(init=False, default=1)
    _whole_version: int = field(init=False, default=1)
    _clock: Callable[[], float] = time.monotonic

    def __attrs_post_init__(self) -> None:
        self._whole = Progress(self.operation, self._phase)
        self._rate = _Rate(self._clock(), 0)

    # ------------------------------------------------------------ the work's side
    def report(self, phase: str, message: str = "", *, offset: int = 0, total: int = 0) -> None:
        """Tell what the work as a whole does. `offset` of `total` bytes are done; without these they are
        those of the objects.
        """
        self._phase = phase
        self._whole = evolve(self._whole, phase=phase, message=message)
        self._told = (offset, total) if offset or total else None
        self._touch_whole()

    def item(self, descriptor: Descriptor) -> Item:
        """Return the object's item, which is made when the work first names it."""
        item = self._items.get(descriptor.digest)
        if item is None:
            item = Item(descriptor)
            if len(self._items) < limits.PROGRESS_OBJECTS:
                self._items[descriptor.digest] = item
                self.changed()
        elif not item.descriptor.media_type:  # an archive's, whose documents were read later
            item.descriptor = descriptor
        return item

    def named(self, descriptor: Descriptor, parent: Descriptor | None) -> None:
        """The work will bring `descriptor`, which `parent` names; that one has been read."""
        self.item(descriptor)
        if parent is not None:
            self.item(parent).finish()

    def settle(self) -> None:
        """All items are done: what the work has come to needs all of them."""
        for item in self._items.values():
            if item.phase not in OVER:
                item.finish()

    def watch(self, board: Sequence[Reported]) -> None:
        """Show the objects on `board`, which may grow, too. They go before items of the same digest."""
        self._boards.append(board)
        self.changed()

    @property
    def moves(self) -> bool:
        """Whether there are objects, whose state may change at any time without a word."""
        return bool(self._items or self._boards)

    def close(self) -> None:
        """Take a last sample, and hold nothing of the work any more."""
        self._sample()
        self._boards.clear()
        self._items.clear()

    # ------------------------------------------------------------ the readers' side
    @property
    def version(self) -> int:
        """Grows with each change that a sample has found or the work has told."""
        return self._version

    @property
    def latest(self) -> Progress:
        """The state of the whole and of all objects."""
        return self.since(0)[1] or self._whole

    def since(self, version: int) -> tuple[int, Progress | None]:
        """Return the version now and what has changed since `version` (0: everything), None for nothing."""
        self._sample()
        news = tuple(each.shown for each in self._seen.values() if each.version > version)
        if not news and self._whole_version <= version:
            return self._version, None
        return self._version, evolve(self._whole, objects=news)

    def _sample(self) -> None:
        now = self._clock()
        for digest, fresh in self._fresh().items():
            self._update(digest, fresh, now)
        self._sum_up(now)

    def _fresh(self) -> dict[str, ObjectProgress]:
        objects: Iterable[Reported] = chain(self._items.values(), *self._boards)
        objects = islice(objects, limits.PROGRESS_OBJECTS)
        return {fresh.digest: fresh for fresh in (each.progress() for each in objects)}

    def _update(self, digest: str, fresh: ObjectProgress, now: float) -> None:
        seen = self._seen.get(digest)
        count = fresh.unpacked if fresh.phase == "unpack" else fresh.offset - fresh.resumed
        if seen is None:
            self._version += 1
            self._seen[digest] = _Seen(fresh, _Rate(now, count), self._version)
            return
        if fresh.phase != seen.shown.phase:
            seen.rate = _Rate(now, count)
        elif fresh.phase not in OVER:
            rate = seen.rate.at(now, count)
            left = fresh.total - count - (0 if fresh.phase == "unpack" else fresh.resumed)
            fresh = evolve(fresh, rate=rate, eta=round(left / rate, 1) if rate and left >= 0 else None)
        if fresh != seen.shown:
            self._version += 1
            seen.shown, seen.version = fresh, self._version

    def _sum_up(self, now: float) -> None:
        objects = [each.shown for each in self._seen.values()]
        if self._told is None:
            offset, total = sum(each.offset for each in objects), sum(each.total for each in objects)
            moved = sum(
                each.offset - each.resumed
                for each in objects
                if each.phase not in _THERE and each.kind in _BULK
            )
        else:
            (offset, total), moved = self._told, self._told[0]
        rate = self._rate.at(now, moved)
        phase = self._phase_of(objects)
        times = [each.eta for each in objects if each.eta is not None]
        if phase != "unpack":
            left = [(total - offset) / rate] if rate and total >= offset else []
            times = [*times, *left] if left or offset >= total else []
        fresh = evolve(
            self._whole, phase=phase, offset=offset, total=total, rate=rate,
            eta=round(max(times), 1) if times else None,
        )  # fmt: skip
        if fresh != self._whole:
            self._whole = fresh
            self._version += 1
            self._whole_version = self._version

    def _phase_of(self, objects: Sequence[ObjectProgress]) -> str:
        """A download of which nothing is left to come unpacks."""
        phases = {each.phase for each in objects} - OVER
        return "unpack" if self._phase == "download" and phases == {"unpack"} else self._phase

    def _touch_whole(self) -> None:
        self._version += 1
        self._whole_version = self._version
        self.changed()
