"""Layers taken apart and put together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from attrs import frozen

from tricorn.model.ids import Digest
from tricorn.model.records import Usage
from tricorn.ports.snapshots import FilesystemMount


@frozen
class ExtractResult:
    diff_id: Digest
    size: int  # bytes of the tar
    entries: int
    warnings: tuple[str, ...] = ()
    # Directories that the layer has no entry for ("." is its root): made as 0755 root, to be given the
    # metadata that lower layers have for them before the snapshot is used.
    implied: tuple[str, ...] = ()
    usage: Usage | None = None  # what it takes on disk, where that could be counted in passing


class Extraction(Protocol):
    """One layer being applied by a confined child while its blob is still growing."""

    def grew(self, offset: int) -> None:
        """The source file has `offset` valid bytes now. Never blocks."""
        ...

    @property
    def consumed(self) -> int:
        """Bytes of the source that the child has read, for progress."""
        ...

    async def finish(self, total: int) -> ExtractResult:
        """The source is complete at `total` bytes: wait for the child's result.

        Raises InvalidArgument (hostile or malformed layer, naming the entry) or ResourceExhausted.
        """
        ...


WhiteoutFormat = Literal["overlay", "apply"]


class Extractor(Protocol):
    def start(
        self,
        source: str,
        target: str,
        compression: str,
        whiteouts: WhiteoutFormat = "overlay",
        *,
        size: int = 0,
    ) -> AbstractAsyncContextManager[Extraction]:
        """Begin to apply the file `source` (compression "", gzip or zstd) to the directory `target`.
        It will have `size` bytes, as far as that is known: large layers are worth more processes.
        `overlay` writes whiteouts as 0/0 devices and opaque xattrs; `apply` removes what they name.
        Leaving the context kills the child if it hasn't finished.
        """
        ...


@frozen
class DiffResult:
    diff_id: Digest
    size: int  # bytes of the tar
    entries: int
    warnings: tuple[str, ...] = ()


class Diffing(Protocol):
    """One layer being made by a confined child."""

    async def read(self) -> bytes:
        """Return the next bytes of the layer, b"" at its end."""
        ...

    async def finish(self) -> DiffResult:
        """Return what was written, once all of it has been read. Raises what the child met."""
        ...


class LayerDiffer(Protocol):
    def start(
        self,
        left: Sequence[FilesystemMount],
        right: Sequence[FilesystemMount],
        compression: str,
        *,
        epoch: int | None = None,
        whole: bool = False,
    ) -> AbstractAsyncContextManager[Diffing]:
        """Begin to make the layer that turns what `left` shows ([]: nothing) into what `right` shows,
        with the compression "", gzip or zstd. `epoch` (seconds) bounds all times. Where `right` is `left`
        under an upper directory only that is read, unless `whole`. Leaving the context kills the child.
        """
        ...


class Repacking(Diffing, Protocol):
    """One layer being compressed otherwise by a confined child."""

    @property
    def consumed(self) -> int:
        """Bytes of the source that the child has read, for progress."""
        ...


class LayerRepacker(Protocol):
    def start(self, path: str, declared: str, compression: str) -> AbstractAsyncContextManager[Repacking]:
        """Begin to pack the layer in the file `path`, whose media type declares the compression `declared`,
        with the compression "", gzip or zstd. The same layer gives the same bytes. Leaving the context
        kills the child. `finish` raises InvalidArgument for a damaged layer, ResourceExhausted for a bomb.
        """
        ...
