"""What both sides of a migration are made of."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import NotFound
from tricorn.model.migrations import NodeFacts
from tricorn.model.oci import Platform
from tricorn.ports import CheckpointRuntime, Registry
from tricorn.rules.migration_grant import MigrationRule
from tricorn.service.catalog import Catalog
from tricorn.service.checkpoints import CheckpointService
from tricorn.service.diff import DiffService
from tricorn.service.lifecycle import Lifecycle
from tricorn.service.mounts import MountService
from tricorn.service.network_moves import NetworkMoves
from tricorn.service.operations import OperationService
from tricorn.service.policy import PolicyGate
from tricorn.service.revival import Reviver
from tricorn.service.snapshots import SnapshotService
from tricorn.service.specs import SpecFactory
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

_CPUS: Final = "/proc/cpuinfo"
_LIMITER: Final = trio.CapacityLimiter(4)


@frozen
class MigrationSettings:
    """What the configuration says: the other nodes by name, what this one shows them and whom it believes,
    and whom it takes containers from. A silent target leaves a migration uncertain after `patience` seconds.
    """

    nodes: Mapping[str, str]
    certificate: str
    key: str
    authority: str
    rules: Sequence[MigrationRule] = ()
    patience: float = limits.MIGRATION_PATIENCE


@frozen
class MigrationParts:
    """The workers and services of this node. Below `directory` dumps lie on their way."""

    directory: str
    machine: Platform
    cgroup: str
    db: Database
    content: ContentStore
    runtime: CheckpointRuntime
    lifecycle: Lifecycle
    snapshots: SnapshotService
    specs: SpecFactory
    reviver: Reviver
    diff: DiffService
    mounts: MountService
    catalog: Catalog
    gate: PolicyGate
    checkpoints: CheckpointService
    operations: OperationService
    registry: Registry
    networks: NetworkMoves

    def place(self, name: str) -> str:
        """Return the private directory in which the parts of one migration lie that are secret."""
        return os.path.join(self.directory, name)

    async def clear(self, name: str) -> None:
        """Remove that directory; idempotent."""
        remove = partial(shutil.rmtree, self.place(name), ignore_errors=True)
        await trio.to_thread.run_sync(remove, limiter=_LIMITER)

    async def facts(self) -> NodeFacts:
        """Return what dumps of this node need of another, and what it has for theirs."""
        criu = await self.runtime.criu()
        flags = await trio.to_thread.run_sync(_cpu_flags)
        return NodeFacts(
            str(self.machine), platform.release(), criu.version if criu.usable else "", self.cgroup, flags
        )

    async def drop_lease(self, namespace: str, lease: str) -> None:
        """Let go of what an earlier agent held; idempotent."""

        def drop(tx: Transaction) -> None:
            try:
                tx.leases.delete(namespace, lease)
            except NotFound:
                return

        await self.db.write(drop)


def _cpu_flags() -> tuple[str, ...]:
    """Return what every processor of this machine can, as the kernel calls it."""
    with open(_CPUS, encoding="ascii", errors="replace") as file:
        lines = [line.partition(":")[2].split() for line in file if line.startswith(("flags", "Features"))]
    return tuple(sorted(set.intersection(*map(set, lines)))) if lines else ()
