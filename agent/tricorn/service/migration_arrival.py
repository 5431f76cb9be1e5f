"""A container on its way to this node."""

from __future__ import annotations

import trio
from attrs import define, field

from tricorn import limits
from tricorn.model.migrations import Offer, Start
from tricorn.model.oci import Descriptor
from tricorn.ports import BundleRef
from tricorn.service.network_moves import Arriving
from tricorn.service.operations import Operation


@define(eq=False)
class Arrival:
    """A migration that is under way to this agent. `stage` is set at each change of what can be answered."""

    offer: Offer
    peer: str
    directory: str
    coming: Arriving
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    opened: trio.Event = field(factory=trio.Event)
    seeded: trio.Event = field(factory=trio.Event)  # the source says that image and files are here
    prepared: trio.Event = field(factory=trio.Event)  # the files are laid out
    started: trio.Event = field(factory=trio.Event)  # the source says that it may run
    pushed: trio.Event = field(factory=trio.Event)  # the dump is in a registry
    pulled: trio.Event = field(factory=trio.Event)  # and here
    settled: trio.Event = field(factory=trio.Event)  # it runs, or was refused: on record
    lease: str = ""
    rw: Descriptor | None = None
    start: Start = field(factory=Start)
    dumped: bool = False
    rounds: list[int] = field(factory=list)  # bytes of each round of memory
    spoilt: bool = False  # one failed: no more are taken
    image: Descriptor | None = None  # what holds the dump in a registry
    operation: Operation | None = None
    ref: BundleRef | None = None

    def touch(self) -> None:
        """The source lives: it may be silent for a while again."""
        if not self.started.is_set():
            self.scope.deadline = trio.current_time() + limits.MIGRATION_IDLE
