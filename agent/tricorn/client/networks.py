"""The client's methods on networks, which belong to the node. All raise `tricorn.errors`."""

from __future__ import annotations

from collections.abc import Sequence

from tricorn.client import network_calls as calls
from tricorn.client.connection import Pool
from tricorn.client.values import plain, value, values
from tricorn.model.networks import NetworkDesired, NetworkView
from tricorn.model.requests import Change


class Networks:
    """Looking needs the role read on the node, changing admin."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def list(self, filters: Sequence[str] = ()) -> list[NetworkView]:
        """Return the agent's own networks, and those of CNI configuration lists."""
        return values(await self._pool.call(calls.networks(filters)), NetworkView)

    async def get(self, name: str) -> NetworkView:
        """Return a network with the containers in it. NotFound."""
        return value(await self._pool.call(calls.network(name)), NetworkView)

    async def put(self, name: str, desired: NetworkDesired | None = None, *, plan: bool = False) -> Change:
        """Make sure that a network is there as described, or that it is gone."""
        call = calls.put_network(name, plain(desired or NetworkDesired()), plan=plan)
        return value(await self._pool.call(call), Change)

    async def delete(self, name: str, *, plan: bool = False) -> Change:
        """Remove a network. NotFound; FailedPrecondition while containers are in it."""
        return value(await self._pool.call(calls.delete_network(name, plan=plan)), Change)
