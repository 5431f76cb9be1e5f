"""Snapshots: layers and containers' file systems."""

from __future__ import annotations

from tricorn.api.http.bodies import Empty, SnapshotView
from tricorn.api.http.query import FILTER, Query
from tricorn.api.http.replies import Streamed, Write
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
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


async def diff(call: Call) -> object:
    path, query = call.path, call.query
    moment = query["timestamp"]
    layer = call.services.snapshot_layers.layer(
        call.namespace,
        path["snapshotter"],
        path["key"],
        parent=query["parent"],
        compression=query["compression"],
        epoch=None if moment is None else int(moment.timestamp()),
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
        "DELETE",
        _ONE,
        delete,
        "Remove a snapshot that nothing stands on",
        Empty,
        role=Role.OPERATE,
        errors=(NotFound, FailedPrecondition),
    ),
    Route(
        "GET",
        f"{_ONE}/diff",
        diff,
        "The layer that a snapshot adds to what it stands on",
        shape=Shape.BYTES,
        query=(
            Query("parent", "text", "compare with this one; empty: with nothing"),
            Query("compression", "text", "of the layer", default="gzip", choices=("gzip", "zstd", "none")),
            Query("timestamp", "time", "no file is younger: the same files give the same bytes"),
        ),
        role=Role.OPERATE,
        errors=(NotFound, InvalidArgument, Aborted),
    ),
)
