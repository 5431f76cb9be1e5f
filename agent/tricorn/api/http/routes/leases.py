"""Leases: keep what they list from collection."""

from __future__ import annotations

from tricorn.api.http.bodies import Empty, LeaseCreate
from tricorn.api.http.query import FILTER
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import AlreadyExists, NotFound
from tricorn.model.records import Lease
from tricorn.rules.authorise import Role


async def list_all(call: Call) -> object:
    return await call.services.leases.list(call.namespace, call.query["filter"])


async def create(call: Call) -> object:
    body: LeaseCreate = call.body
    return await call.services.leases.create(call.namespace, body.id, body.labels, body.expire_seconds)


async def delete(call: Call) -> object:
    await call.services.leases.delete(call.namespace, call.path["lease"])
    return Empty()


_ALL = "/v1/{ns}/leases"
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
    Route("DELETE", f"{_ALL}/{{lease}}", delete, "End a lease", Empty, role=Role.OPERATE, errors=(NotFound,)),
)
