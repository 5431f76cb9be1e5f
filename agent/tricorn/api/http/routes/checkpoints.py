"""Checkpoints: running containers to images, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tricorn.api.http import longwork
from tricorn.api.http.query import DETACH, Query
from tricorn.api.http.routing import Call, Route
from tricorn.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unimplemented,
)
from tricorn.model.checkpoints import CheckpointRequest, CheckpointView, ImportedCheckpoint, RestoreRequest
from tricorn.model.requests import ContainerView
from tricorn.rules.authorise import Role

if TYPE_CHECKING:
    from tricorn.service import Reporter


async def checkpoint(call: Call) -> object:
    body: CheckpointRequest = call.body
    name = call.path["id"]
    call.audit.note(image=body.image, leave_running=body.leave_running)

    async def work(report: Reporter) -> CheckpointView:
        return await call.services.checkpoints.checkpoint(call.namespace, name, body, report)

    return await longwork.run(call, "checkpoint", name, work)


async def restore(call: Call) -> object:
    body: RestoreRequest = call.body
    call.audit.note(name=body.id, privileged=bool(body.container and body.container.privileged))

    async def work(report: Reporter) -> ContainerView:
        return await call.services.checkpoints.restore(call.namespace, body, report)

    return await longwork.run(call, "restore", body.id, work, status=201)


async def load(call: Call) -> object:
    from tricorn.service.checkpoint_imports import CheckpointImport

    query, receive = call.query, call.receive
    assert receive is not None
    wanted = CheckpointImport(query["image"], query["base"], whole=query["whole"])

    async def work(report: Reporter) -> ImportedCheckpoint:
        report.expected = query["size"]
        return await call.services.checkpoint_imports.load(call.namespace, receive, wanted, report)

    return await call.services.operations.attend(
        call.namespace, "import", query["image"] or "checkpoint", work, identity=query["operation"]
    )


_REFUSALS = (AlreadyExists, NotFound, FailedPrecondition, InvalidArgument, ResourceExhausted, Unimplemented)
ROUTES = (
    Route(
        "POST",
        "/v1/{ns}/containers/{id}/checkpoint",
        checkpoint,
        "Make an image of a running container, its memory included",
        CheckpointView,
        query=(DETACH,),
        body=CheckpointRequest,
        role=Role.OPERATE,
        long=True,
        errors=_REFUSALS,
    ),
    Route(
        "POST",
        "/v1/{ns}/checkpoints/restore",
        restore,
        "Make a container whose processes go on where a checkpoint was taken",
        ContainerView,
        query=(DETACH,),
        body=RestoreRequest,
        role=Role.OPERATE,
        status=201,
        long=True,
        errors=(*_REFUSALS, PermissionDenied),
    ),
    Route(
        "POST",
        "/v1/{ns}/checkpoints/import",
        load,
        "Make an image of a checkpoint archive, as Podman and CRI's runtimes write them (tar, gzip or zstd)",
        ImportedCheckpoint,
        query=(
            Query("image", "text", "its name; empty: after its container and the date", default=""),
            Query("base", "text", "the image to restore on; empty: the one the archive names", default=""),
            Query("whole", "flag", "take that image along", default=True),
            Query("size", "integer", "bytes of the archive, for its progress; 0 if unknown", default=0),
            Query("operation", "text", "the id that the operation shall have, to watch it", default=""),
        ),
        raw=True,
        role=Role.OPERATE,
        errors=(*_REFUSALS, PermissionDenied),
    ),
)
