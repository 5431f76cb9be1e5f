"""File systems in layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from tricorn.model.records import SnapshotKind, Usage


@frozen
class FilesystemMount:
    """One mount(2) to make: `options` hold lowerdir=…, upperdir=…, ro, rbind and the like."""

    type: str
    source: str
    options: tuple[str, ...] = ()


class Snapshotter(Protocol):
    """Directories of snapshots, named by backend ids that the caller makes up (unique for ever).

    Records (keys, parents, labels) are the store's; this side only knows ids. `parents` are backend
    ids of committed snapshots, nearest first. All calls are idempotent enough to be repeated after a
    crash: `create` of an id that is already there replaces it, `remove` of a missing one is no error.
    """

    name: str

    async def supported(self) -> str:
        """Return "" if the host can run this snapshotter, else why not."""
        ...

    async def create(self, backend_id: str, kind: SnapshotKind, parents: Sequence[str]) -> None: ...

    def mounts(
        self, backend_id: str, kind: SnapshotKind, parents: Sequence[str]
    ) -> tuple[FilesystemMount, ...]: ...

    async def unmapped(self) -> str:
        """Return "" if its mounts can show other owners than the disk has, else why not."""
        ...

    def layer_root(self, backend_id: str) -> str | None:
        """The directory into which a layer may be applied without a mount (each layer by itself, with
        whiteouts in overlay's form), or None if layers must be applied on the mounted parent.
        """
        ...

    async def adopt(self, backend_id: str, parents: Sequence[str], implied: Sequence[str]) -> None:
        """Give the directories `implied` (of an `ExtractResult`) the metadata they have in the nearest of
        `parents` that has them. To be called when a layer was applied to its `layer_root`, once the
        parents are committed and before the snapshot itself is.
        """
        ...

    async def commit(self, backend_id: str, usage: Usage | None = None) -> Usage:
        """Complete the snapshot; return what it takes, which is measured unless the caller has."""
        ...

    async def remove(self, backend_id: str) -> None: ...

    async def usage(self, backend_id: str) -> Usage: ...

    async def walk(self) -> list[str]:
        """Return the ids of all directories on disk, half-made ones included."""
        ...
