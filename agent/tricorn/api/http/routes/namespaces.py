"""Namespaces: tenants of the node's names."""

from __future__ import annotations

from tricorn.api.http.bodies import LabelsPatch, NamespacePut
from tricorn.api.http.query import FILTER, PLAN
from tricorn.api.http.routing import Call, Route, Scope, Shape
from tricorn.errors import FailedPrecondition, NotFound
from tricorn.model.records import Namespace
from tricorn.model.requests import Change
from tricorn.rules.authorise import Role


async def list_all(call: Call) -> object:
    return await call.services.namespaces.list(call.query["filter"])


async def get(call: Call) -> object:
    return await call.services.namespaces.get(call.namespace)


async def put(call: Call) -> object:
    body: NamespacePut = call.body
    return await call.services.namespaces.put(call.namespace, body.labels, plan=call.query["plan"])


async def patch(call: Call) -> object:
    body: LabelsPatch = call.body
    return await call.services.namespaces.update(call.namespace, body.labels)


async def delete(call: Call) -> object:
    return await call.services.namespaces.delete(call.namespace, plan=call.query["plan"])


_ONE = "/v1/namespaces/{namespace}"
ROUTES = (
    Route(
        "GET",
        "/v1/namespaces",
        list_all,
        "List namespaces",
        Namespace,
        Shape.LIST,
        query=(FILTER,),
        scope=Scope.NODE,
    ),
    Route("GET", _ONE, get, "Look at a namespace", Namespace, errors=(NotFound,)),
    Route(
        "PUT",
        _ONE,
        put,
        "Make sure that a namespace exists and has these labels",
        Change,
        query=(PLAN,),
        body=NamespacePut,
        role=Role.ADMIN,
    ),
    Route(
        "PATCH",
        _ONE,
        patch,
        "Merge labels; an empty value removes its key",
        Namespace,
        body=LabelsPatch,
        role=Role.ADMIN,
        errors=(NotFound,),
    ),
    Route(
        "DELETE",
        _ONE,
        delete,
        "Remove an empty namespace",
        Change,
        query=(PLAN,),
        role=Role.ADMIN,
        errors=(NotFound, FailedPrecondition),
    ),
)
