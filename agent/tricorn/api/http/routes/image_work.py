"""What is made of images and told of them: commits, conversions, referrers, checks, usage, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tricorn.api.http import longwork
from tricorn.api.http.bodies import LabelsPatch
from tricorn.api.http.query import DETACH, Query
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import (
    Aborted,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from tricorn.model.image_requests import (
    CommitResult,
    ContainerCommit,
    ConversionResult,
    ImageCheck,
    ImageConversion,
    ImageUsages,
    ReferrersQuery,
    ReferrersResult,
)
from tricorn.model.requests import ImageView
from tricorn.rules.authorise import Role

if TYPE_CHECKING:
    from tricorn.service import Reporter


async def commit(call: Call) -> object:
    body: ContainerCommit = call.body
    name = call.path["id"]

    async def work(report: Reporter) -> CommitResult:
        return await call.services.commits.commit(call.namespace, name, body, report)

    return await longwork.run(call, "commit", name, work)


async def convert(call: Call) -> object:
    body: ImageConversion = call.body
    image = await call.services.transfer.find(call.namespace, call.path["name"])

    async def work(report: Reporter) -> ConversionResult:
        return await call.services.converter.convert(call.namespace, image, body, report)

    return await longwork.run(call, "convert", image.name, work)


async def ask_referrers(call: Call) -> object:
    body: ReferrersQuery = call.body
    name = call.path["name"]

    async def work(report: Reporter) -> ReferrersResult:
        return await call.services.referrers.ask(call.namespace, name, body, report)

    return await longwork.run(call, "referrers", name, work)


async def referrers(call: Call) -> object:
    query = call.query
    return await call.services.referrers.here(
        call.namespace, call.path["name"], artifact_type=query["type"], platform=query["platform"]
    )


async def check(call: Call) -> object:
    query = call.query
    return await call.services.image_care.check(
        call.namespace, query["name"], platform=query["platform"], all_platforms=query["all_platforms"]
    )


async def usage(call: Call) -> object:
    return await call.services.image_care.usage(call.namespace, call.query["name"])


async def label(call: Call) -> object:
    body: LabelsPatch = call.body
    return await call.services.images.label(call.namespace, call.path["name"], body.labels)


_IMAGE = "/v1/{ns}/images/{name}"
_REFERRERS = f"{_IMAGE}/referrers"
_NAMES = Query("name", "texts", "an image; all of the namespace's without names", default=())
_PLATFORM = Query("platform", "text", "the node's own when empty", default="")
_ALL = Query("all_platforms", "flag", "for all platforms that the images have", default=False)
ROUTES = (
    Route(
        "POST",
        "/v1/{ns}/containers/{id}/commit",
        commit,
        "Make an image of a container",
        CommitResult,
        query=(DETACH,),
        body=ContainerCommit,
        role=Role.OPERATE,
        long=True,
        errors=(NotFound, FailedPrecondition, Aborted, InvalidArgument, ResourceExhausted),
    ),
    Route(
        "POST",
        f"{_IMAGE}/convert",
        convert,
        "Make an image in another form, with other compression or fewer platforms, of an image",
        ConversionResult,
        query=(DETACH,),
        body=ImageConversion,
        role=Role.OPERATE,
        long=True,
        errors=(NotFound, FailedPrecondition, DataLoss, ResourceExhausted),
    ),
    Route(
        "GET",
        _REFERRERS,
        referrers,
        "List the artifacts on the node that refer to an image",
        ReferrersResult,
        query=(
            Query("type", "text", "only those of this artifact type", default=""),
            Query("platform", "text", "of the image for this platform; empty: of the index", default=""),
        ),
        errors=(NotFound,),
    ),
    Route(
        "POST",
        _REFERRERS,
        ask_referrers,
        "Ask the image's registry for artifacts that refer to it, and bring them on request",
        ReferrersResult,
        query=(DETACH,),
        body=ReferrersQuery,
        role=Role.OPERATE,
        long=True,
        errors=(NotFound, Unauthenticated, PermissionDenied, Unavailable, ResourceExhausted, DataLoss),
    ),
    Route(
        "GET",
        "/v1/{ns}/image-check",
        check,
        "Tell whether images are all there, and where they are unpacked",
        ImageCheck,
        Shape.LIST,
        query=(_NAMES, _PLATFORM, _ALL),
        errors=(NotFound,),
    ),
    Route(
        "GET",
        "/v1/{ns}/image-usage",
        usage,
        "Tell how many bytes images take",
        ImageUsages,
        query=(_NAMES,),
        errors=(NotFound,),
    ),
    Route(
        "PATCH",
        _IMAGE,
        label,
        "Change an image's labels; `containerd.io/gc.expire` is the time at which it may go",
        ImageView,
        body=LabelsPatch,
        role=Role.OPERATE,
        errors=(NotFound, InvalidArgument),
    ),
)
