"""Migrations: running containers to other nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tricorn.api.http import longwork
from tricorn.api.http.query import DETACH
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from tricorn.model.migrations import MigrateRequest, MigrationView, ResolveRequest
from tricorn.rules.authorise import Role

if TYPE_CHECKING:
    from tricorn.service import Reporter


async def migrate(call: Call) -> object:
    body: MigrateRequest = call.body
    name = call.path["id"]
    call.audit.note(to=body.to, name=body.name)

    async def work(report: Reporter) -> MigrationView:
        return await call.services.migrations.migrate(call.namespace, name, body, report)

    return await longwork.run(call, "migrate", name, work)


async def listed(call: Call) -> object:
    return await call.services.migrations.list(call.namespace)


async def get(call: Call) -> object:
    return await call.services.migrations.get(call.namespace, call.path["id"])


async def resolve(call: Call) -> object:
    body: ResolveRequest = call.body
    call.audit.note(keep=body.keep)
    return await call.services.migrations.resolve(call.namespace, call.path["id"], body)


ROUTES = (
    Route(
        "POST",
        "/v1/{ns}/containers/{id}/migrate",
        migrate,
        "Move a running container to another node",
        MigrationView,
        query=(DETACH,),
        body=MigrateRequest,
        role=Role.OPERATE,
        long=True,
        errors=(
            AlreadyExists, NotFound, FailedPrecondition, InvalidArgument, PermissionDenied,
            ResourceExhausted, Unavailable, Unimplemented,
        ),
    ),
    Route(
        "GET",
        "/v1/{ns}/migrations",
        listed,
        "List containers that moved from or to this node, the latest last",
        MigrationView,
        Shape.LIST,
    ),
    Route(
        "GET",
        "/v1/{ns}/migrations/{id}",
        get,
        "Show a migration",
        MigrationView,
        errors=(NotFound,),
    ),
    Route(
        "POST",
        "/v1/{ns}/migrations/{id}/resolve",
        resolve,
        "Settle an uncertain migration by hand: which copy goes on",
        MigrationView,
        body=ResolveRequest,
        role=Role.OPERATE,
        errors=(NotFound, FailedPrecondition, InvalidArgument),
    ),
)  # fmt: skip
