"""Networks: they belong to the node, and containers of the namespaces that they are for join them."""

from __future__ import annotations

from tricorn.api.http.query import FILTER, PLAN
from tricorn.api.http.routing import Call, Route, Scope, Shape
from tricorn.errors import Conflict, FailedPrecondition, NotFound, ResourceExhausted, Unimplemented
from tricorn.model.networks import NetworkDesired, NetworkView
from tricorn.model.requests import Change
from tricorn.rules.authorise import Role


async def list_all(call: Call) -> object:
    return await call.services.networks.list(call.query["filter"])


async def get(call: Call) -> object:
    return await call.services.networks.get(call.path["network"])


async def put(call: Call) -> object:
    body: NetworkDesired = call.body
    return await call.services.networks.put(call.path["network"], body, plan=call.query["plan"])


async def delete(call: Call) -> object:
    name, networks = call.path["network"], call.services.networks
    await networks.get(name)
    return await networks.put(name, NetworkDesired(state="absent"), plan=call.query["plan"])


_ALL, _ONE = "/v1/networks", "/v1/networks/{network}"
ROUTES = (
    Route(
        "GET",
        _ALL,
        list_all,
        "List networks",
        NetworkView,
        Shape.LIST,
        query=(FILTER,),
        scope=Scope.NODE,
    ),
    Route(
        "GET",
        _ONE,
        get,
        "Look at a network with the containers in it",
        NetworkView,
        scope=Scope.NODE,
        errors=(NotFound,),
    ),
    Route(
        "PUT",
        _ONE,
        put,
        "Make sure that a network is there as described, or that it is gone",
        Change,
        query=(PLAN,),
        body=NetworkDesired,
        role=Role.ADMIN,
        scope=Scope.NODE,
        errors=(Conflict, FailedPrecondition, ResourceExhausted, Unimplemented),
    ),
    Route(
        "DELETE",
        _ONE,
        delete,
        "Remove a network that no container is in",
        Change,
        query=(PLAN,),
        role=Role.ADMIN,
        scope=Scope.NODE,
        errors=(NotFound, FailedPrecondition),
    ),
)
