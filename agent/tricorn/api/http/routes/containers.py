"""Containers: desired state in, change out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tricorn.api.http import longwork
from tricorn.api.http.bodies import ContainerCreate
from tricorn.api.http.query import DETACH, FILTER, PLAN, Query
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import AlreadyExists, FailedPrecondition, NotFound, Unavailable
from tricorn.model import ids
from tricorn.model.requests import Change, ContainerDesired, ContainerView
from tricorn.rules.authorise import Role

if TYPE_CHECKING:
    from tricorn.service.progress import Reporter


async def list_all(call: Call) -> object:
    return await call.services.containers.list(call.namespace, call.query["filter"], all=call.query["all"])


async def get(call: Call) -> object:
    return await call.services.containers.get(call.namespace, call.path["id"])


async def put(call: Call) -> object:
    desired: ContainerDesired = call.body
    name = call.path["id"]
    call.audit.note(privileged=desired.privileged)
    state = partial(call.services.containers.put, call.namespace, name, desired)
    return await longwork.put(call, "container", name, state)


async def create(call: Call) -> object:
    body: ContainerCreate = call.body
    containers = call.services.containers
    if body.name is not None:
        ids.identifier(body.name, "name")
    call.audit.note(name=body.name, privileged=body.desired.privileged)

    async def work(report: Reporter) -> ContainerView:
        return await containers.create(call.namespace, body.name, body.desired, report=report)

    return await longwork.run(call, "create", body.name or body.desired.image, work, status=201)


async def delete(call: Call) -> object:
    query = call.query
    return await call.services.containers.delete(
        call.namespace,
        call.path["id"],
        force=query["force"],
        stop_timeout=query["stop_timeout"],
        plan=query["plan"],
    )


_ALL, _ONE = "/v1/{ns}/containers", "/v1/{ns}/containers/{id}"
_EVERY = Query("all", "flag", "also those that don't run", default=True)
_DELETE = (
    Query("force", "flag", "kill it first if it runs", default=False),
    Query("stop_timeout", "number", "stop it first, killing it after so many seconds"),
    PLAN,
)
ROUTES = (
    Route("GET", _ALL, list_all, "List containers", ContainerView, Shape.LIST, query=(FILTER, _EVERY)),
    Route(
        "POST",
        _ALL,
        create,
        "Create a container that mustn't exist",
        ContainerView,
        query=(DETACH,),
        body=ContainerCreate,
        role=Role.OPERATE,
        status=201,
        long=True,
        errors=(AlreadyExists, NotFound, Unavailable),
    ),
    Route(
        "GET", _ONE, get, "Look at a container with its spec and network", ContainerView, errors=(NotFound,)
    ),
    Route(
        "PUT",
        _ONE,
        put,
        "Bring a container to its desired state",
        Change,
        query=(PLAN, DETACH),
        body=ContainerDesired,
        role=Role.OPERATE,
        long=True,
        errors=(NotFound, FailedPrecondition, Unavailable),
    ),
    Route(
        "DELETE",
        _ONE,
        delete,
        "Remove a container",
        Change,
        query=_DELETE,
        role=Role.OPERATE,
        errors=(NotFound, FailedPrecondition),
    ),
)
