"""Dumps of processes, and what the node can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from attrs import Factory, frozen

from tricorn.model.checkpoints import DumpOptions
from tricorn.ports.processes import BundleRef
from tricorn.ports.runtime import Runtime


@frozen
class CriuInfo:
    """The CRIU that this node uses; `reason` says why `usable` is false. `missing` are kernel features."""

    path: str
    version: str = ""
    usable: bool = False
    reason: str = ""
    hint: str = ""
    features: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


LazyState = Literal["", "serving", "done", "failed"]


class Checkpointer(Protocol):
    """The part of a runtime that dumps containers. `Runtime.create` restores them (`BundleRef.restore`)."""

    async def criu(self) -> CriuInfo:
        """Probe CRIU; a usable one is remembered."""
        ...

    async def can_checkpoint(self, runtime: str) -> None:
        """Unimplemented, with reason and remedy, unless containers of this runtime can be dumped and
        restored here.
        """
        ...

    async def can_restore_lazily(self, runtime: str) -> None:
        """Unimplemented, naming what is missing, unless containers of this runtime can be restored before
        their memory is there.
        """
        ...

    def lazy_state(self, ref: BundleRef) -> LazyState:
        """Return whether a container is still being given its memory; "" if it was not restored lazily."""
        ...

    async def lazy_end(self, ref: BundleRef) -> LazyState:
        """Wait until a container has been given its memory, or lost it."""
        ...

    async def can_predump(self, runtime: str) -> None:
        """Unimplemented, naming what is missing, unless memory of containers of this runtime can be dumped
        in rounds.
        """
        ...

    async def predump(
        self, ref: BundleRef, images: str, work: str, options: DumpOptions, parent: str
    ) -> None:
        """Dump the memory alone of a running container: what was written to since the dump in the directory
        `parent`, a path relative to `images`, or all of it for "". Raises as `checkpoint`.
        """
        ...

    async def checkpoint(
        self, ref: BundleRef, images: str, work: str, options: DumpOptions, parent: str = ""
    ) -> None:
        """Dump all processes of a running or frozen container into the directory `images`, the log into
        `work`. With `leave_running` they are afterwards as they were; else they are gone. With `parent`, as
        `predump` has it, of memory what was written to since.

        FailedPrecondition with CRIU's words and the remedy: the container is then as it was.
        """
        ...

    async def settle_dump(self, images: str, seconds: float) -> None:
        """After a crash: let a dump that still runs come to its end, for at most `seconds`."""
        ...

    async def restored(self, ref: BundleRef) -> None:
        """Connect the client's stdin of a container that `create` restored: it runs already."""
        ...


class CheckpointRuntime(Runtime, Checkpointer, Protocol):
    """A runtime that can dump."""


@frozen
class Capability:
    """Something this node can or can't do, with the reason and the remedy."""

    name: str
    available: bool
    reason: str = ""
    hint: str = ""
    details: Mapping[str, Any] = Factory(dict)
