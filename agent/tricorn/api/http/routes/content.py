"""Content: blobs by digest."""

from __future__ import annotations

from tricorn.api.http.bodies import Empty
from tricorn.api.http.query import FILTER, PLAN
from tricorn.api.http.replies import Data
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import NotFound
from tricorn.model.records import ContentInfo
from tricorn.model.requests import Change, ContentDesired
from tricorn.rules.authorise import Role


async def list_all(call: Call) -> object:
    return await call.services.content.list(call.namespace, call.query["filter"])


async def get(call: Call) -> object:
    return await call.services.content.info(call.namespace, call.path["digest"])


async def data(call: Call) -> object:
    path, size = await call.services.content.open(call.namespace, call.path["digest"])
    return Data(path, size, headers=(("ETag", f'"{call.path["digest"]}"'),))


async def put(call: Call) -> object:
    body: ContentDesired = call.body
    digest, plan = call.path["digest"], call.query["plan"]
    return await call.services.content.put(call.namespace, digest, body, plan=plan)


async def delete(call: Call) -> object:
    await call.services.content.delete(call.namespace, call.path["digest"])
    return Empty()


_ALL, _ONE = "/v1/{ns}/content", "/v1/{ns}/content/{digest}"
ROUTES = (
    Route("GET", _ALL, list_all, "List blobs", ContentInfo, Shape.LIST, query=(FILTER,)),
    Route("GET", _ONE, get, "Look at a blob's record", ContentInfo, errors=(NotFound,)),
    Route("GET", f"{_ONE}/data", data, "A blob's bytes", None, Shape.BYTES, errors=(NotFound,)),
    Route(
        "PUT",
        _ONE,
        put,
        "Make sure that a blob has these labels, or that the namespace doesn't have it",
        Change,
        query=(PLAN,),
        body=ContentDesired,
        role=Role.OPERATE,
        errors=(NotFound,),
    ),
    Route("DELETE", _ONE, delete, "Forget a blob", Empty, role=Role.OPERATE, errors=(NotFound,)),
)
