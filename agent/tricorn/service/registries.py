"""How registries are reached: the plan that the configuration makes, shown without asking anybody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tricorn.model.registry_plan import RegistryPlan


class RegistryService:
    """`explain` is the registry client's own view, so that what is shown is what would be done."""

    def __init__(self, explain: Callable[[str], Awaitable[RegistryPlan]]) -> None:
        self._explain = explain

    async def explain(self, registry: str) -> RegistryPlan:
        """Return the hosts that `registry` (`host[:port]`, as references have it) stands for, in the order
        of asking. InvalidArgument for a malformed name or hosts.toml. Nothing secret is in the answer.
        """
        return await self._explain(registry)
