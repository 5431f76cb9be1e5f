"""Garbage collection: do it, and explain it."""

from __future__ import annotations

from tricorn.api.http.query import Query
from tricorn.api.http.routing import Call, Route, Scope
from tricorn.errors import NotFound
from tricorn.model.requests import GcExplanation, GcReport
from tricorn.rules.authorise import Role


async def collect(call: Call) -> object:
    return await call.services.gc.collect(dry_run=call.query["dry_run"])


async def explain(call: Call) -> object:
    return await call.services.gc.explain(call.namespace, call.query["object"])


_DRY_RUN = Query("dry_run", "flag", "tell what would be removed, and remove nothing", default=False)
_OBJECT = Query(
    "object",
    "text",
    "content/DIGEST, image/NAME, snapshot/SNAPSHOTTER/KEY, container/ID, sandbox/ID, lease/ID, ingest/REF, "
    "mount/NAME or stream/ID",
    required=True,
)
ROUTES = (
    Route(
        "POST",
        "/v1/gc",
        collect,
        "Remove what nothing keeps",
        GcReport,
        query=(_DRY_RUN,),
        role=Role.ADMIN,
        scope=Scope.NODE,
    ),
    Route(
        "GET",
        "/v1/{ns}/gc/explain",
        explain,
        "Why an object is kept",
        GcExplanation,
        query=(_OBJECT,),
        errors=(NotFound,),
    ),
)
