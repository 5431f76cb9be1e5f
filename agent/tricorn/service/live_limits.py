"""Changing limits of containers, of running ones at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog
from attrs import asdict, evolve

from tricorn.errors import FailedPrecondition
from tricorn.model.records import Container, TaskStatus
from tricorn.model.requests import ContainerDesired, LimitsUpdate, LimitsView, Resources
from tricorn.ports import Runtime
from tricorn.rules.live_limits import merged, update_document
from tricorn.runtime.host import host_limits
from tricorn.service.lifecycle import Lifecycle
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction
from tricorn.structuring import structure

log = structlog.get_logger(__name__)
_CHANGEABLE = frozenset({TaskStatus.CREATED, TaskStatus.RUNNING, TaskStatus.PAUSED})


class LiveLimits:
    """The record's request and spec have the new limits, too: the next start keeps them."""

    def __init__(self, db: Database, runtime: Runtime, lifecycle: Lifecycle) -> None:
        self._db = db
        self._runtime = runtime
        self._lifecycle = lifecycle

    async def update(self, namespace: str, container_id: str, wanted: LimitsUpdate) -> LimitsView:
        """Change limits; those that aren't named stay. InvalidArgument for what makes no sense or what the
        runtime refuses; FailedPrecondition for a container whose spec a client made and that doesn't run.
        """
        async with self._lifecycle.locks.hold(namespace, container_id):
            container, task = await self._lifecycle.records(namespace, container_id)
            alive = task is not None and task.status in _CHANGEABLE
            if not container.desired and not alive:
                raise FailedPrecondition(
                    f"container {container_id} is not running", why="its spec is its client's",
                    hint="start it first, or change the spec",
                )  # fmt: skip
            old = stored(container)
            new = merged(old, wanted)
            warnings = await self.apply_held(namespace, container, new, running=alive)
            return LimitsView(container_id, new, live=alive, warnings=tuple(warnings))

    async def apply_held(
        self, namespace: str, container: Container, new: Resources, *, running: bool
    ) -> Sequence[str]:
        """Change to exactly these limits, for callers that hold the container's lock; return warnings."""
        host = await host_limits(ContainerDesired(container.image))
        live, spec, warnings = update_document(stored(container), new, host)
        if running and live:
            _, task = await self._lifecycle.records(namespace, container.id)
            await self._runtime.update(self._lifecycle.bundles.ref(namespace, container, task), live)
        if container.desired:
            await self._db.write(lambda tx: _record(tx, namespace, container.id, new, spec))
        log.info("limits changed", namespace=namespace, container=container.id, running=running)
        return warnings


def stored(container: Container) -> Resources:
    """Return the limits that a container's request has."""
    raw = container.desired.get("resources") or {}
    return structure({**raw}, Resources, "the stored request")


def _record(tx: Transaction, namespace: str, id: str, new: Resources, parts: Mapping[str, Any]) -> None:
    old = tx.containers.get(namespace, id)
    spec = msgspec.json.decode(old.spec)
    linux = spec.get("linux") or {}
    kept = {key: value for key, value in (linux.get("resources") or {}).items() if key in _KEPT}
    spec["linux"] = {**linux, "resources": {**kept, **parts}}
    desired = {**old.desired, "resources": _plain(new)}
    tx.containers.replace(namespace, evolve(old, spec=msgspec.json.encode(spec), desired=desired))


_KEPT = frozenset({"devices", "unified", "hugepageLimits", "rdma", "network"})


def _plain(resources: Resources) -> dict[str, Any]:
    raw = asdict(resources)
    return {**raw, "blkio": list(raw["blkio"])}
