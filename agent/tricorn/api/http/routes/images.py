"""Images: names for content."""

from __future__ import annotations

from functools import partial

from tricorn.api.http import longwork
from tricorn.api.http.query import DETACH, FILTER, PLAN, Query
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import (
    DataLoss,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from tricorn.model.requests import Change, ImageDesired, ImageView
from tricorn.rules.authorise import Role


async def list_all(call: Call) -> object:
    return await call.services.images.list(call.namespace, call.query["filter"])


async def get(call: Call) -> object:
    return await call.services.images.get(call.namespace, call.path["name"])


async def put(call: Call) -> object:
    desired: ImageDesired = call.body
    state = partial(call.services.images.put, call.namespace, desired)
    return await longwork.put(call, "image", desired.reference, state)


async def delete(call: Call) -> object:
    query = call.query
    return await call.services.images.delete(
        call.namespace, call.path["name"], sync=query["sync"], plan=query["plan"]
    )


_ALL, _ONE = "/v1/{ns}/images", "/v1/{ns}/images/{name}"
_SYNC = Query("sync", "flag", "collect its content before answering", default=False)
_PULL_ERRORS = (NotFound, Unauthenticated, PermissionDenied, Unavailable, ResourceExhausted, DataLoss)
ROUTES = (
    Route("GET", _ALL, list_all, "List images", ImageView, Shape.LIST, query=(FILTER,)),
    Route(
        "PUT",
        _ALL,
        put,
        "Bring an image to its desired state",
        Change,
        query=(PLAN, DETACH),
        body=ImageDesired,
        role=Role.OPERATE,
        long=True,
        errors=_PULL_ERRORS,
    ),
    Route("GET", _ONE, get, "Look at an image with its layers and config", ImageView, errors=(NotFound,)),
    Route(
        "DELETE",
        _ONE,
        delete,
        "Forget an image's name",
        Change,
        query=(_SYNC, PLAN),
        role=Role.OPERATE,
        errors=(NotFound,),
    ),
)
