"""Checkpoints: running containers to images, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tricorn.api.http import longwork
from tricorn.api.http.query import DETACH
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
from tricorn.model.checkpoints import CheckpointRequest, CheckpointView, RestoreRequest
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
)
