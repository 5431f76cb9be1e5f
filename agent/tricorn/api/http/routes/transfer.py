"""Images that move: to registries, into archives and out of them, to other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tricorn.api.http import longwork
from tricorn.api.http.query import DETACH, Query
from tricorn.api.http.replies import Streamed, Write
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from tricorn.model.requests import ImagePush, ImageTag, ImageView, ImportResult, PushResult
from tricorn.rules.authorise import Role

if TYPE_CHECKING:
    from tricorn.service.progress import Reporter


async def push(call: Call) -> object:
    body: ImagePush = call.body
    transfer = call.services.transfer
    image = await transfer.find(call.namespace, call.path["name"])

    async def work(report: Reporter) -> PushResult:
        push_it = call.services.referrers.push if body.referrers else transfer.push_as
        return await push_it(call.namespace, image, body, report)

    return await longwork.run(call, "push", body.reference or image.name, work)


async def tag(call: Call) -> object:
    body: ImageTag = call.body
    return await call.services.images.tag(call.namespace, call.path["name"], body.reference)


async def export(call: Call) -> object:
    query, transfer = call.query, call.services.transfer
    plan = await transfer.plan_archive(
        call.namespace, query["name"], query["platform"], all_platforms=query["all_platforms"]
    )

    async def run(write: Write) -> None:
        async def work(reporter: Reporter) -> None:
            await transfer.exporter.write(plan, write, reporter)

        await call.services.operations.attend(
            call.namespace, "export", ", ".join(query["name"]), work, identity=query["operation"]
        )

    return Streamed(run)


async def load(call: Call) -> object:
    query, receive = call.query, call.receive
    assert receive is not None

    async def work(reporter: Reporter) -> ImportResult:
        reporter.expected = query["size"]
        return await call.services.transfer.load_archive(
            call.namespace,
            receive,
            base_name=query["base_name"],
            platform=query["platform"],
            all_platforms=query["all_platforms"],
            unpack=query["unpack"],
            compress=query["compress"],
            reporter=reporter,
        )

    what = query["base_name"] or "archive"
    return await call.services.operations.attend(
        call.namespace, "import", what, work, identity=query["operation"]
    )


_ONE, _ARCHIVE = "/v1/{ns}/images/{name}", "/v1/{ns}/archive"
_REGISTRY_ERRORS = (NotFound, Unauthenticated, PermissionDenied, Unavailable, FailedPrecondition, DataLoss)
_OPERATION = Query(
    "operation",
    "text",
    "the id that the operation shall have, to watch it: 8 to 64 of a-z, 0-9, -",
    default="",
)
_ALL = Query("all_platforms", "flag", "what the images have for all platforms", default=False)
ROUTES = (
    Route(
        "POST",
        f"{_ONE}/push",
        push,
        "Push an image to a registry",
        PushResult,
        query=(DETACH,),
        body=ImagePush,
        role=Role.OPERATE,
        long=True,
        errors=_REGISTRY_ERRORS,
    ),
    Route(
        "POST",
        f"{_ONE}/tag",
        tag,
        "Give an image one more name",
        ImageView,
        body=ImageTag,
        role=Role.OPERATE,
        errors=(NotFound,),
    ),
    Route(
        "GET",
        _ARCHIVE,
        export,
        "Export images as an OCI layout in a tar, which Docker can load, too",
        shape=Shape.BYTES,
        query=(
            Query("name", "texts", "an image; repeated ones go into the same archive", (), required=True),
            Query("platform", "text", "the node's own when empty", default=""),
            _ALL,
            _OPERATION,
        ),
        errors=(NotFound, AlreadyExists),
    ),
    Route(
        "POST",
        _ARCHIVE,
        load,
        "Import the images of an archive: an OCI layout or what `docker save` writes, as tar, gzip or zstd",
        ImportResult,
        query=(
            Query("base_name", "text", "what an archive's tags are completed with", default=""),
            Query("platform", "text", "the node's own when empty", default=""),
            _ALL,
            Query("unpack", "flag", "unpack for the platform", default=True),
            Query("compress", "flag", "gzip layers that come as plain tar", default=False),
            Query("size", "integer", "bytes of the archive, for its progress; 0 if unknown", default=0),
            _OPERATION,
        ),
        raw=True,
        role=Role.OPERATE,
        errors=(NotFound, ResourceExhausted, DataLoss, AlreadyExists),
    ),
)
