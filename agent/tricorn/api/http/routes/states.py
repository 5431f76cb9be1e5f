"""Desired states: images' names, what registries have of them, archives as files of the node; leases."""

from __future__ import annotations

from functools import partial

from tricorn.api.http import longwork
from tricorn.api.http.query import DETACH, PLAN
from tricorn.api.http.routing import Call, Route, Scope
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
from tricorn.model.requests import (
    ArchiveExport,
    ArchiveImport,
    Change,
    ImagePush,
    ImageTags,
    LeaseDesired,
)
from tricorn.rules.authorise import Role


async def tag(call: Call) -> object:
    states = call.services.image_states
    return await states.tagged(call.namespace, call.path["name"], call.body, plan=call.query["plan"])


async def push(call: Call) -> object:
    body: ImagePush = call.body
    image = await call.services.transfer.find(call.namespace, call.path["name"])
    state = partial(call.services.image_states.pushed, call.namespace, image, body)
    return await longwork.put(call, "push", body.reference or image.name, state)


async def export(call: Call) -> object:
    body: ArchiveExport = call.body
    state = partial(call.services.archive_files.exported, call.namespace, body)
    return await longwork.put(call, "export", body.path, state)


async def load(call: Call) -> object:
    body: ArchiveImport = call.body
    state = partial(call.services.archive_files.imported, call.namespace, body)
    return await longwork.put(call, "import", body.path, state)


async def lease(call: Call) -> object:
    body: LeaseDesired = call.body
    leases, name, plan = call.services.lease_states, call.path["lease"], call.query["plan"]
    if body.state == "absent":
        return await leases.absent(call.namespace, name, plan=plan)
    return await leases.put(call.namespace, name, body, plan=plan)


_ONE, _ARCHIVE = "/v1/{ns}/images/{name}", "/v1/{ns}/archive"
_REGISTRY_ERRORS = (NotFound, Unauthenticated, PermissionDenied, Unavailable, FailedPrecondition, DataLoss)
_FILE_ERRORS = (NotFound, PermissionDenied, FailedPrecondition, ResourceExhausted, DataLoss)
ROUTES = (
    Route(
        "PUT",
        f"{_ONE}/tags",
        tag,
        "Make sure that an image has these names, too",
        Change,
        query=(PLAN,),
        body=ImageTags,
        role=Role.OPERATE,
        errors=(NotFound, AlreadyExists),
    ),
    Route(
        "PUT",
        f"{_ONE}/push",
        push,
        "Make sure that a registry has an image",
        Change,
        query=(PLAN, DETACH),
        body=ImagePush,
        role=Role.OPERATE,
        long=True,
        errors=_REGISTRY_ERRORS,
    ),
    Route(
        "PUT",
        f"{_ARCHIVE}/export",
        export,
        "Make sure that a file of the node is the archive of these images",
        Change,
        query=(PLAN, DETACH),
        body=ArchiveExport,
        role=Role.OPERATE,
        scope=Scope.NODE,
        long=True,
        errors=_FILE_ERRORS,
    ),
    Route(
        "PUT",
        f"{_ARCHIVE}/import",
        load,
        "Make sure that the images of an archive on the node are here",
        Change,
        query=(PLAN, DETACH),
        body=ArchiveImport,
        role=Role.OPERATE,
        scope=Scope.NODE,
        long=True,
        errors=_FILE_ERRORS,
    ),
    Route(
        "PUT",
        "/v1/{ns}/leases/{lease}",
        lease,
        "Make sure that a lease exists and holds these things, or that it is gone",
        Change,
        query=(PLAN,),
        body=LeaseDesired,
        role=Role.OPERATE,
    ),
)
