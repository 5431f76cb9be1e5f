"""A node's whole desired state: planned as one, brought about in order, side by side where that is safe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog
import trio

from tricorn.errors import InvalidArgument, NotFound, TricornError
from tricorn.model import ids
from tricorn.model.networks import NetworkDesired
from tricorn.model.node_states import NamespaceState, NodeState
from tricorn.model.requests import Change, ContainerDesired, ImageDesired
from tricorn.rules.node_plan import Part, merged, waves
from tricorn.service.containers import ContainerService
from tricorn.service.images import ImageService
from tricorn.service.networks import NetworkService
from tricorn.service.progress import Reporter
from tricorn.service.records import NamespaceService
from tricorn.store.db import Database

log = structlog.get_logger(__name__)
_PARALLEL: Final = 32
_UNCHANGED: Final = Change(changed=False)


class NodeStates:
    def __init__(
        self, db: Database, namespaces: NamespaceService, networks: NetworkService, images: ImageService,
        containers: ContainerService,
    ) -> None:  # fmt: skip
        self._db = db
        self._namespaces = namespaces
        self._networks = networks
        self._images = images
        self._containers = containers

    async def put(self, state: NodeState, *, plan: bool = False, report: Reporter | None = None) -> Change:
        """Bring the node to the desired state, or under `plan` only say what that would take.

        What fails is told by its name, once those that were under way beside it are done; what was done
        before stays, and the same request goes on from there.
        """
        if not 1 <= state.parallel <= _PARALLEL:
            raise InvalidArgument(f"parallel must be from 1 to {_PARALLEL}", field="parallel")
        for name in state.namespaces:
            ids.namespace(name)
        limiter = trio.CapacityLimiter(state.parallel)
        done: list[tuple[Part, Change]] = []
        for wave in waves(state, await self._present(state)):
            if report is not None:
                report.report("apply", f"{wave[0].kind}s")
            done += await self._together(wave, limiter, plan=plan)
        change = merged(done)
        if change.changed and not plan:
            log.info("node changed", actions=len(change.actions))
        return change

    async def _present(self, state: NodeState) -> dict[str, list[str]]:
        pruned = [name for name, held in state.namespaces.items() if held.prune]
        return await self._db.read(
            lambda tx: {name: [each.id for each in tx.containers.list(name)] for name in pruned}
        )

    async def _together(
        self, wave: Sequence[Part], limiter: trio.CapacityLimiter, *, plan: bool
    ) -> list[tuple[Part, Change]]:
        changes: dict[str, Change] = {}
        errors: dict[str, TricornError] = {}

        async def one(part: Part) -> None:
            async with limiter:
                try:
                    changes[part.key] = await self._put(part, plan=plan)
                except TricornError as error:
                    errors[part.key] = error

        async with trio.open_nursery() as nursery:
            for part in wave:
                nursery.start_soon(one, part)
        for part in wave:
            if part.key in errors:
                raise _named(part, errors[part.key]) from errors[part.key]
        return [(part, changes[part.key]) for part in wave]

    async def _put(self, part: Part, *, plan: bool) -> Change:
        match part.wanted:
            case NetworkDesired() as network:
                return await self._networks.put(part.name, network, plan=plan)
            case NamespaceState() as held:
                return await self._namespaces.put(part.name, held.labels, plan=plan)
            case ImageDesired() as image:
                return await self._images.put(part.namespace, image, plan=plan)
            case ContainerDesired() as container if part.goes:
                return await self._gone(part, container.stop_timeout, plan=plan)
            case ContainerDesired() as container:
                return await self._containers.put(part.namespace, part.name, container, plan=plan)

    async def _gone(self, part: Part, stop_timeout: float, *, plan: bool) -> Change:
        try:
            return await self._containers.delete(
                part.namespace, part.name, stop_timeout=stop_timeout, plan=plan
            )
        except NotFound:
            return _UNCHANGED


def _named(part: Part, error: TricornError) -> TricornError:
    what = f"{part.kind} {part.key}: {error.what}"
    return type(error)(what, why=error.why, hint=error.hint, field=error.field, **error.details)
