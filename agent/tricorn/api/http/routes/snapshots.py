"""Snapshots: layers and containers' file systems."""

from __future__ import annotations

from tricorn.api.http.bodies import Empty, SnapshotView
from tricorn.api.http.query import FILTER, Query
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import FailedPrecondition, NotFound
from tricorn.rules.authorise import Role


async def list_all(call: Call) -> object:
    query = call.query
    records = await call.services.snapshots.list(call.namespace, query["snapshotter"], query["filter"])
    return [SnapshotView.of(record) for record in records]


async def get(call: Call) -> object:
    path = call.path
    return SnapshotView.of(
        await call.services.snapshots.get(call.namespace, path["snapshotter"], path["key"])
    )


async def delete(call: Call) -> object:
    await call.services.snapshots.delete(call.namespace, call.path["snapshotter"], call.path["key"])
    return Empty()


_ONE = "/v1/{ns}/snapshots/{snapshotter}/{key}"
_SNAPSHOTTER = Query("snapshotter", "text", "of this snapshotter only", default="")
ROUTES = (
    Route(
        "GET",
        "/v1/{ns}/snapshots",
        list_all,
        "List snapshots",
        SnapshotView,
        Shape.LIST,
        query=(_SNAPSHOTTER, FILTER),
    ),
    Route("GET", _ONE, get, "Look at a snapshot", SnapshotView, errors=(NotFound,)),
    Route(
        "DELETE",
        _ONE,
        delete,
        "Remove a snapshot that nothing stands on",
        Empty,
        role=Role.OPERATE,
        errors=(NotFound, FailedPrecondition),
    ),
)
