"""A node's whole desired state in one call."""

from __future__ import annotations

from functools import partial

from attrs import evolve

from tricorn.api.http import longwork
from tricorn.api.http.query import DETACH, PLAN
from tricorn.api.http.routing import Call, Route, Scope
from tricorn.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from tricorn.model.node_states import NodeState
from tricorn.model.requests import Change
from tricorn.rules.authorise import Role

_HOME = "default"  # where the operation is listed


async def put(call: Call) -> object:
    body: NodeState = call.body
    containers = [each for held in body.namespaces.values() for each in held.containers.values()]
    call.audit.note(containers=len(containers), privileged=any(each.privileged for each in containers))
    state = partial(call.services.node_states.put, body)
    return await longwork.put(evolve(call, namespace=_HOME), "apply", "node", state)


ROUTES = (
    Route(
        "PUT",
        "/v1/apply",
        put,
        "Bring the whole node to its desired state: networks, namespaces, images, containers",
        Change,
        query=(PLAN, DETACH),
        body=NodeState,
        role=Role.ADMIN,
        scope=Scope.NODE,
        long=True,
        errors=(NotFound, FailedPrecondition, InvalidArgument, Conflict, Unavailable),
    ),
)
