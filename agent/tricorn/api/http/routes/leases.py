"""Leases: keep what they list from collection."""

from __future__ import annotations

from tricorn.api.http.bodies import Empty, LeaseCreate
from tricorn.api.http.query import FILTER, Query
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import AlreadyExists, NotFound
from tricorn.model.records import Lease, LeaseResource
from tricorn.rules.authorise import Role


async def list_all(call: Call) -> object:
    return await call.services.leases.list(call.namespace, call.query["filter"])


async def create(call: Call) -> object:
    body: LeaseCreate = call.body
    return await call.services.leases.create(call.namespace, body.id, body.labels, body.expire_seconds)


async def get(call: Call) -> object:
    return await call.services.leases.get(call.namespace, call.path["lease"])


async def delete(call: Call) -> object:
    await call.services.leases.delete(call.namespace, call.path["lease"], sync=call.query["sync"])
    return Empty()


async def resources(call: Call) -> object:
    return await call.services.leases.resources(call.namespace, call.path["lease"])


async def add(call: Call) -> object:
    body: LeaseResource = call.body
    await call.services.leases.add_resource(call.namespace, call.path["lease"], body)
    return Empty()


async def drop(call: Call) -> object:
    resource = LeaseResource(call.path["type"], call.path["key"])
    await call.services.leases.remove_resource(call.namespace, call.path["lease"], resource)
    return Empty()


_ALL, _ONE = "/v1/{ns}/leases", "/v1/{ns}/leases/{lease}"
_SYNC = Query("sync", "flag", "collect what it alone kept before answering", default=False)
ROUTES = (
    Route("GET", _ALL, list_all, "List leases", Lease, Shape.LIST, query=(FILTER,)),
    Route(
        "POST",
        _ALL,
        create,
        "Make a lease",
        Lease,
        body=LeaseCreate,
        role=Role.OPERATE,
        status=201,
        errors=(AlreadyExists,),
    ),
    Route("GET", _ONE, get, "Look at a lease", Lease, errors=(NotFound,)),
    Route(
        "DELETE", _ONE, delete, "End a lease", Empty, query=(_SYNC,), role=Role.OPERATE, errors=(NotFound,)
    ),
    Route(
        "GET",
        f"{_ONE}/resources",
        resources,
        "List what a lease holds",
        LeaseResource,
        Shape.LIST,
        errors=(NotFound,),
    ),
    Route(
        "POST",
        f"{_ONE}/resources",
        add,
        "Have a lease hold something, there or not",
        Empty,
        body=LeaseResource,
        role=Role.OPERATE,
        errors=(NotFound,),
    ),
    Route(
        "DELETE",
        f"{_ONE}/resources/{{type}}/{{key}}",
        drop,
        "Have a lease let go of something",
        Empty,
        role=Role.OPERATE,
        errors=(NotFound,),
    ),
)
