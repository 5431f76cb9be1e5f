"""What a transfer tells while it runs: one line for each part, in the words of containerd's clients."""

from __future__ import annotations

import math
import time
from typing import Final

from attrs import define, field

from tricorn.model.oci import (
    DOCKER_CONFIG,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_CONFIG,
    Descriptor,
    layer_types,
)
from tricorn.model.requests import LayerProgress, Progress
from tricorn.model.transfer import Tell, TransferEvent
from tricorn.ports import PushOutcome
from tricorn.service.operations import Reporter
from tricorn.service.push import PushWatcher

_INTERVAL: Final = 0.1  # seconds between two lines
_LAYER_EVENTS: Final = {
    "waiting": "waiting",
    "downloading": "downloading",
    "unpacking": "extracting",
    "exists": "already exists",
    "done": "complete",
}
_OUTCOMES: Final[dict[PushOutcome, str]] = {
    "pushed": "complete", "exists": "already exists", "mounted": "mounted",
}  # fmt: skip


def key_of(descriptor: Descriptor) -> str:
    """Return the name of a part in progress messages: its kind and its digest."""
    media_type = descriptor.media_type
    if media_type in MANIFEST_TYPES:
        kind = "manifest"
    elif media_type in INDEX_TYPES:
        kind = "index"
    elif media_type in layer_types():
        kind = "layer"
    elif media_type in {OCI_CONFIG, DOCKER_CONFIG}:
        kind = "config"
    else:
        kind = "unknown"
    return f"{kind}-{descriptor.digest}"


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
            self.say(descriptor.digest, "waiting", 0)
        elif above not in part.parents:
            part.parents = (*part.parents, above)

    def read(self, descriptor: Descriptor, parent: Descriptor | None) -> None:
        """Like `known`, of a pull: what names `descriptor` is here then."""
        self.known(descriptor, parent)
        if parent is not None:
            self.complete(parent.digest)

    def say(self, digest: str, event: str, progress: int) -> None:
        """Tell what happens to a part, unless that was said before. Nothing follows its completion."""
        part = self._parts.get(digest)
        if part is None or part.told == (event, progress) or part.told[0] in {"complete", "mounted"}:
            return
        part.told = event, progress
        total = part.descriptor.size
        name = key_of(part.descriptor)
        self.tell(TransferEvent(event, name, part.parents, progress, total, part.descriptor))

    def complete(self, digest: str) -> None:
        """The part is here, or there."""
        part = self._parts.get(digest)
        if part is not None and part.told[0] != "already exists":
            self.say(digest, "complete", part.descriptor.size)

    def complete_all(self) -> None:
        for digest in list(self._parts):
            self.complete(digest)


class PullReporter(Reporter):
    """Hands a pull's progress on as that of parts."""

    def __init__(self, parts: Parts) -> None:
        super().__init__("", self._lines)
        self._parts = parts

    def _lines(self, progress: Progress) -> None:
        for layer in progress.layers:
            self._layer(layer)
        if progress.phase == "commit":
            self._parts.complete_all()

    def _layer(self, layer: LayerProgress) -> None:
        event = _LAYER_EVENTS.get(layer.phase, layer.phase)
        offset = {"extracting": layer.unpacked, "downloading": layer.offset}.get(event, layer.total)
        self._parts.say(layer.digest, event, 0 if event == "waiting" else offset)


class PushReporter(PushWatcher):
    """Hands a push's progress on as that of parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def known(self, descriptor: Descriptor, parent: Descriptor | None) -> None:
        self._parts.known(descriptor, parent)

    def sent(self, descriptor: Descriptor, offset: int) -> None:
        self._parts.say(descriptor.digest, "uploading", offset)

    def done(self, descriptor: Descriptor, outcome: PushOutcome) -> None:
        self._parts.say(descriptor.digest, _OUTCOMES[outcome], descriptor.size)


class PushBoard(PushWatcher):
    """Shows a push as an operation's progress: one line for each blob, a few times a second."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._parts: dict[str, LayerProgress] = {}
        self._told = -math.inf

    def known(
        self,
        descriptor: Descriptor,
        parent: Descriptor | None,  # noqa: ARG002 - the base class's
    ) -> None:
        if descriptor.media_type not in INDEX_TYPES | MANIFEST_TYPES:
            self._set(descriptor, "waiting", 0)

    def sent(self, descriptor: Descriptor, offset: int) -> None:
        self._set(descriptor, "uploading", offset)

    def done(self, descriptor: Descriptor, outcome: PushOutcome) -> None:
        phase = "exists" if outcome == "exists" else "done"
        self._set(descriptor, phase, descriptor.size, now=True)

    def _set(self, descriptor: Descriptor, phase: str, offset: int, *, now: bool = False) -> None:
        digest = descriptor.digest
        self._parts[digest] = LayerProgress(str(digest), phase, descriptor.size, offset)
        if now or time.monotonic() - self._told >= _INTERVAL:
            self._told = time.monotonic()
            self._reporter.report("push", layers=list(self._parts.values()))
