"""Registries: how the agent would reach one."""

from __future__ import annotations

from tricorn.api.http.query import Query
from tricorn.api.http.routing import Call, Route, Scope
from tricorn.model.registry_plan import RegistryPlan


async def explain(call: Call) -> object:
    return await call.services.registries.explain(call.query["host"])


_HOST = Query("host", "text", "the registry's name, as references have it: host[:port]", required=True)
ROUTES = (
    Route(
        "GET",
        "/v1/registry",
        explain,
        "How a registry is reached: hosts in order, capabilities, where credentials come from",
        RegistryPlan,
        query=(_HOST,),
        scope=Scope.NODE,
    ),
)
