"""The Trio client of one agent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, Self

from tricorn.client import calls
from tricorn.client.checkpoints import Checkpoints
from tricorn.client.connection import Pool
from tricorn.client.containers import Containers
from tricorn.client.copies import Files
from tricorn.client.execs import Execs
from tricorn.client.images import Images
from tricorn.client.migrations import Migrations
from tricorn.client.networks import Networks
from tricorn.client.node_state_calls import put_node_state
from tricorn.client.nouns import Content, Leases, Namespaces, Operations, Policy, Snapshots
from tricorn.client.stream import Stream, line_of, open_stream
from tricorn.client.upkeep import Scrub
from tricorn.client.values import plain, value, values
from tricorn.errors import Internal
from tricorn.model.cordon import CordonDesired
from tricorn.model.node_states import NodeState
from tricorn.model.records import Event
from tricorn.model.registry_plan import RegistryPlan
from tricorn.model.requests import Change, GcExplanation, GcReport, NodeStop

SOCKET: Final = "/run/tricorn/tricorn.sock"


class Lost(int):
    """So many events that were asked for are no longer kept."""


class Client:
    """Talks to the agent at `socket_path` (default: TRICORN_SOCKET, then the usual place) in `namespace`.

    An async context manager: leaving it closes the connections. Any number of tasks may call at a time,
    each call has a connection of its own. Cancelling a call closes its connection, upon which the agent
    cancels work that it did for it. All errors are `tricorn.errors`.
    """

    def __init__(self, socket_path: str = "", *, namespace: str = "", pool: Pool | None = None) -> None:
        self.namespace = namespace or os.environ.get("TRICORN_NAMESPACE") or "default"
        self._pool = pool or Pool(socket_path or os.environ.get("TRICORN_SOCKET") or SOCKET)
        self.namespaces = Namespaces(self._pool, self.namespace)
        self.images = Images(self._pool, self.namespace)
        self.containers = Containers(self._pool, self.namespace)
        self.checkpoints = Checkpoints(self._pool, self.namespace)
        self.execs = Execs(self._pool, self.namespace)
        self.files = Files(self._pool, self.namespace)
        self.migrations = Migrations(self._pool, self.namespace)
        self.content = Content(self._pool, self.namespace)
        self.snapshots = Snapshots(self._pool, self.namespace)
        self.leases = Leases(self._pool, self.namespace)
        self.networks = Networks(self._pool)
        self.operations = Operations(self._pool, self.namespace)
        self.scrub = Scrub(self._pool, self.namespace)
        self.policy = Policy(self._pool, self.namespace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.close()

    def within(self, namespace: str) -> Client:
        """Return a client of another namespace over the same connections."""
        return Client(namespace=namespace, pool=self._pool)

    async def healthy(self) -> dict[str, Any]:
        """Return the health document; Unavailable while the agent isn't ready."""
        return value(await self._pool.call(calls.healthz()), dict[str, Any])

    async def version(self) -> dict[str, Any]:
        return value(await self._pool.call(calls.version()), dict[str, Any])

    async def info(self) -> dict[str, Any]:
        return value(await self._pool.call(calls.info()), dict[str, Any])

    async def registry(self, host: str) -> RegistryPlan:
        """Return how the registry `host` (`host[:port]`) would be reached; nothing secret is in it."""
        return value(await self._pool.call(calls.registry(host)), RegistryPlan)

    async def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return (await self._pool.read(calls.metrics())).decode()

    async def stop_all(self, *, timeout: float | None = None, plan: bool = False) -> NodeStop:
        """Stop the containers of all namespaces in order, and start none again until `start_all`."""
        return value(await self._pool.call(calls.stop_node(timeout=timeout, plan=plan)), NodeStop)

    async def start_all(self) -> NodeStop:
        """Let restart policies act again after `stop_all`."""
        return value(await self._pool.call(calls.start_node()), NodeStop)

    async def cordon(self, reason: str = "", *, plan: bool = False) -> Change:
        """Have the node take on no new containers; what runs there runs on."""
        wanted = plain(CordonDesired(reason))
        return value(await self._pool.call(calls.put_cordon(wanted, plan=plan)), Change)

    async def uncordon(self, *, plan: bool = False) -> Change:
        """Have the node take on containers again."""
        return value(await self._pool.call(calls.lift_cordon(plan=plan)), Change)

    async def apply(self, state: NodeState, *, plan: bool = False) -> Change:
        """Bring the whole node to its desired state; cancelled with the caller."""
        return value(await self._pool.call(put_node_state(plain(state), plan=plan)), Change)

    async def collect(self, *, dry_run: bool = False) -> GcReport:
        """Remove what nothing needs, in all namespaces."""
        return value(await self._pool.call(calls.collect(dry_run=dry_run)), GcReport)

    async def explain(self, object: str) -> GcExplanation:
        """Return why `object` (content/DIGEST, image/NAME, …) is kept."""
        return value(await self._pool.call(calls.explain(self.namespace, object)), GcExplanation)

    async def events(
        self,
        *,
        since: int | None = None,
        filters: Sequence[str] = (),
        limit: int | None = None,
        everywhere: bool = False,
    ) -> tuple[list[Event], int | None, int]:
        """Return a page of the journal: events, the cursor for the next page, and how many were lost."""
        where = None if everywhere else self.namespace
        page = await self._pool.call(calls.events(where, since=since, filters=filters, limit=limit))
        items = values(page, Event)
        cursor = page.get("cursor")
        return items, None if cursor is None else int(cursor), int(page.get("lost") or 0)

    def follow(
        self, *, since: int | None = None, filters: Sequence[str] = (), everywhere: bool = False
    ) -> AbstractAsyncContextManager[Stream[Event | Lost]]:
        """Give events as they happen (after the cursor `since` first), and Lost where some are missing."""
        where = None if everywhere else self.namespace
        call = calls.events(where, since=since, filters=filters, follow=True)
        return open_stream(self._pool, call, _event)


def _event(raw: Any) -> Event | Lost:
    if not isinstance(raw, dict):
        raise Internal("a line of the journal is no object", why=str(raw)[:200])
    if "lost" in raw and "topic" not in raw:
        return Lost(raw["lost"])
    return line_of(Event)(raw)
