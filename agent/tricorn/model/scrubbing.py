"""What is told of the verification of blobs on disk. Sizes in bytes, times in seconds."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from tricorn import limits
from tricorn.model.ids import Digest
from tricorn.model.records import QuarantinedBlob


@frozen
class ScrubSettings:
    """Blobs are read again in idle time, each every `interval` seconds, at most `rate` bytes a second.
    `refetch` brings damaged ones again from where their labels say they came from.
    """

    enabled: bool = True
    interval: float = 30 * 24 * 3600.0
    rate: int = 16 * limits.MIB
    refetch: bool = False


@frozen
class OrphanFile:
    """A blob's file that no namespace has a record of."""

    digest: str
    size: int


@frozen
class ScrubReport:
    """What one verification found: blobs that were read, those that are damaged and those of them that came
    back from their registries. `orphans` and `leftovers` (directories of transfers, files in quarantine
    without a record) are gone, unless they were to be kept.
    """

    checked: int
    bytes: int
    damaged: tuple[QuarantinedBlob, ...] = ()
    restored: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()  # why blobs didn't come back, one line each
    orphans: tuple[OrphanFile, ...] = ()
    leftovers: int = 0
    seconds: float = 0.0


@frozen
class ScrubStatus:
    """How far the verification in idle time has come. `current` is the blob being read, "" for none."""

    enabled: bool
    interval: float
    rate: int
    refetch: bool
    blobs: int
    never_checked: int
    oldest_check: datetime | None
    quarantined: int
    waiting: int  # blobs that namespaces still miss
    current: str = ""
    offset: int = 0
    checked: int = 0  # since the agent's start, as the rest
    bytes: int = 0
    damaged: int = 0
    restored: int = 0


@frozen
class BlobCheck:
    """When a blob was last found to be what its digest says; None: it was not read again yet."""

    digest: Digest
    size: int
    checked_at: datetime | None = None
