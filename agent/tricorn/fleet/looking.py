"""A look at a fleet: every node is asked side by side, each within its own deadline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import trio
from attrs import evolve, frozen

from tricorn.client import calls, image_calls
from tricorn.client.node_state_calls import put_node_state
from tricorn.errors import DeadlineExceeded, Internal, PermissionDenied, TricornError
from tricorn.fleet import answers
from tricorn.fleet.drift import between, from_state
from tricorn.fleet.links import Link, connect
from tricorn.fleet.places import Place
from tricorn.fleet.views import FleetView, NodeView

PARALLEL: Final = 16
TIMEOUT: Final = 15.0
_RESIDENT: Final = b"process_resident_memory_bytes "


@frozen
class Wanted:
    """What is asked of each node beside its version. `desired` is the body of an apply, only planned."""

    host: bool = False  # kernel, uptime: dear to the agent
    containers: bool = False
    images: bool = False
    figures: bool = False  # memory, pulls
    desired: Mapping[str, Any] | None = None


class Fleet:
    """The nodes at `places`; at most `parallel` are asked at a time, each has `timeout` seconds.

    Links stay open from one look to the next. Close it by `close`.
    """

    def __init__(
        self, places: Sequence[Place], *, parallel: int = PARALLEL, timeout: float = TIMEOUT
    ) -> None:
        self._places = places
        self._limiter = trio.CapacityLimiter(parallel)
        self._timeout = timeout
        self._links: dict[str, Link] = {}

    async def look(self, wanted: Wanted) -> FleetView:
        """Ask all nodes; return what they say in the inventory's order. One that fails is told as such."""
        found: dict[str, NodeView] = {}

        async def one(place: Place) -> None:
            async with self._limiter:
                found[place.name] = await self._node(place, wanted)

        async with trio.open_nursery() as nursery:
            for place in self._places:
                nursery.start_soon(one, place)
        nodes = tuple(found[place.name] for place in self._places)
        drift = from_state(nodes) if wanted.desired is not None else between(nodes)
        return FleetView(datetime.now(UTC).isoformat(timespec="seconds"), nodes, tuple(drift))

    async def close(self) -> None:
        """End all connections."""
        async with trio.open_nursery() as nursery:
            for link in self._links.values():
                nursery.start_soon(link.close)
        self._links.clear()

    async def _node(self, place: Place, wanted: Wanted) -> NodeView:
        view = NodeView(place.name, place.groups, place.address)
        began = trio.current_time()
        try:
            with trio.fail_after(self._timeout):
                view = await self._asked(place, wanted, view)
        except trio.TooSlowError:
            error: TricornError = DeadlineExceeded("it doesn't answer", why=f"waited {self._timeout:g} s")
        except TricornError as refused:
            error = refused
        except answers.NONSENSE as wrong:
            error = Internal("its answers can't be understood", why=repr(wrong)[:200])
        else:
            return evolve(view, seconds=round(trio.current_time() - began, 4))
        if (link := self._links.pop(place.name, None)) is not None:
            await link.close()
        return evolve(view, error=error.one_line(), seconds=round(trio.current_time() - began, 4))

    async def _asked(self, place: Place, wanted: Wanted, view: NodeView) -> NodeView:
        if place.name not in self._links:
            self._links[place.name] = await connect(place)
        return await _look(self._links[place.name], wanted, view)


async def _look(link: Link, wanted: Wanted, view: NodeView) -> NodeView:
    view = answers.about_agent(view, await link.call(calls.version()))
    if wanted.host:
        view = answers.about_host(view, await link.call(calls.info()))
    namespaces = [item["name"] for item in (await link.call(calls.namespaces()))["items"]]

    async def each(call: Callable[[str], Any]) -> list[Any]:
        return [item for name in namespaces for item in (await link.call(call(name)))["items"]]

    if wanted.containers:
        samples = await _allowed(link, calls.samples(None)) if wanted.figures else {}
        listed = await each(calls.containers)
        view = evolve(view, containers=answers.containers(listed, samples.get("items", [])))
    if wanted.images:
        view = evolve(
            view,
            images=answers.images(namespaces, [await link.call(image_calls.images(n)) for n in namespaces]),
        )
    if wanted.figures:
        view = evolve(
            view, agent_memory=await _resident(link), pulls=answers.pulls(await each(calls.operations))
        )
    if wanted.desired is not None:
        change = await link.call(put_node_state(wanted.desired, plan=True))
        view = evolve(view, actions=answers.actions(change))
    return view


async def _allowed(link: Link, call: Any) -> Any:
    """Return the answer, or nothing where this user may not ask."""
    try:
        return await link.call(call)
    except PermissionDenied:
        return {}


async def _resident(link: Link) -> float | None:
    try:
        text = await link.read(calls.metrics())
    except PermissionDenied:
        return None
    for line in text.splitlines():
        if line.startswith(_RESIDENT):
            number = float(line.removeprefix(_RESIDENT))
            return number if math.isfinite(number) and number >= 0 else None
    return None
