"""Snapshots: layers and containers' file systems."""

from __future__ import annotations

from tricorn.api.http.bodies import Empty, SnapshotView
from tricorn.api.http.query import FILTER, PLAN, Query
from tricorn.api.http.replies import Streamed, Write
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tricorn.model.image_requests import SnapshotDiff
from tricorn.model.requests import Change, SnapshotDesired
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


async def put(call: Call) -> object:
    path, body, plan = call.path, call.body, call.query["plan"]
    states = call.services.snapshot_states
    return await states.put(call.namespace, path["snapshotter"], path["key"], body, plan=plan)


async def delete(call: Call) -> object:
    await call.services.snapshots.delete(call.namespace, call.path["snapshotter"], call.path["key"])
    return Empty()


async def diff(call: Call) -> object:
    path, body = call.path, call.body
    layer = call.services.snapshot_layers.layer(
        call.namespace,
        path["snapshotter"],
        path["key"],
        parent=body.parent,
        compression=body.compression,
        epoch=None if body.timestamp is None else int(body.timestamp.timestamp()),
    )

    async def run(write: Write) -> None:
        async with layer as reader:
            while data := await reader.read():
                await write(data)

    return Streamed(run)


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
        "PUT",
        _ONE,
        put,
        "Make sure that a snapshot is there, of this kind and with these labels, or that it is gone",
        Change,
        query=(PLAN,),
        body=SnapshotDesired,
        role=Role.OPERATE,
        errors=(NotFound, AlreadyExists, FailedPrecondition),
    ),
    Route(
        "DELETE",
        _ONE,
        delete,
        "Remove a snapshot that nothing stands on",
        Empty,
        role=Role.OPERATE,
        errors=(NotFound, FailedPrecondition),
    ),
    Route(
        "POST",
        f"{_ONE}/diff",
        diff,
        "The layer that a snapshot adds to what it stands on; nothing of it is kept",
        shape=Shape.BYTES,
        body=SnapshotDiff,
        role=Role.OPERATE,
        errors=(NotFound, InvalidArgument, Aborted),
    ),
)
