"""What clients are told of long work, and of collections of garbage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from attrs import frozen

ObjectPhase = Literal[
    "wait", "download", "upload", "read", "write", "verify", "unpack",
    "done", "skipped", "mounted",
]  # fmt: skip


@frozen
class ObjectProgress:
    """One object of long work, named by its digest. `kind` is index, manifest, config, layer or other.

    `done`, `skipped` (it was there) and `mounted` (the registry took it from another repository) are final.
    `rate` (bytes per second) and `eta` (seconds) are those of the phase.
    """

    digest: str
    kind: str
    phase: ObjectPhase
    total: int  # bytes
    offset: int = 0  # bytes that came or went
    unpacked: int = 0  # bytes of the compressed stream consumed by the unpacking
    resumed: int = 0  # of `offset`: bytes that were there before
    rate: float = 0.0
    eta: float | None = None


@frozen
class Progress:
    """One line of a progress stream: the state of the whole, and of the objects that changed since the line
    before; the first line has all objects. `rate` in bytes per second over the last moments, without what
    was there; `eta` in seconds.
    """

    operation: str
    phase: str
    message: str = ""
    offset: int = 0
    total: int = 0
    rate: float = 0.0
    eta: float | None = None
    objects: tuple[ObjectProgress, ...] = ()


@frozen
class OperationView:
    """Long work: lives on when its client goes, until it ends or is cancelled."""

    id: str
    namespace: str
    kind: str
    object: str
    state: Literal["running", "done", "failed", "cancelled"]
    progress: Progress | None = None
    result: Any = None
    error: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


@frozen
class GcReport:
    """What a collection removed, or under `dry_run` would remove; `bytes` is the blobs' size."""

    dry_run: bool
    removed: tuple[Mapping[str, str], ...] = ()  # {namespace, type, key}
    bytes: int = 0
    seconds: float = 0.0


@frozen
class GcKeeper:
    """A root that an object hangs on; `until` is when it ends by itself."""

    object: str
    reason: str
    until: datetime | None = None


@frozen
class GcExplanation:
    """Why an object is kept: `chain` leads from a root to it, empty when it isn't kept; `keepers` are all
    roots it hangs on. `until` is when time alone frees it (None: never). For what isn't kept, `lapsed` tells
    what might have kept it, and `collected_at` when the next collection is, if that is known.
    """

    object: str
    kept: bool
    chain: tuple[str, ...] = ()
    note: str = ""
    keepers: tuple[GcKeeper, ...] = ()
    until: datetime | None = None
    lapsed: tuple[str, ...] = ()
    collected_at: datetime | None = None
