"""Upkeep of the node's content: verification on disk, the quarantine, what namespaces use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from tricorn.api.http import longwork
from tricorn.api.http.query import DETACH, Query
from tricorn.api.http.routing import Call, Route, Scope, Shape
from tricorn.errors import DataLoss, FailedPrecondition, NotFound, Unavailable
from tricorn.model import ids
from tricorn.model.records import QuarantinedBlob
from tricorn.model.scrubbing import BlobCheck, ScrubReport, ScrubStatus
from tricorn.model.usage import NamespaceUsage
from tricorn.rules.authorise import Role

if TYPE_CHECKING:
    from tricorn.service.progress import Reporter

_HOME = "default"  # where the operation is listed that verifies the blobs of all namespaces


async def status(call: Call) -> object:
    return await call.services.scrub.status()


async def scrub(call: Call) -> object:
    namespace = call.query["namespace"]
    if namespace:
        ids.namespace(namespace)

    async def work(report: Reporter) -> ScrubReport:
        return await call.services.scrub.scrub(
            namespace, keep_orphans=call.query["keep_orphans"], report=report
        )

    return await longwork.run(evolve(call, namespace=namespace or _HOME), "scrub", namespace or "all", work)


async def quarantined(call: Call) -> object:
    return await call.services.scrub.quarantined()


async def fetch(call: Call) -> object:
    return await call.services.scrub.fetch(call.path["digest"])


async def release(call: Call) -> object:
    return await call.services.scrub.release(call.path["digest"], force=call.query["force"])


async def check(call: Call) -> object:
    return await call.services.scrub.check_of(call.namespace, call.path["digest"])


async def usage(call: Call) -> object:
    return await call.services.usage.of(call.namespace, active=call.query["active"])


_NAMESPACE = Query("namespace", "text", "only the blobs of this one", default="")
_KEEP = Query("keep_orphans", "flag", "leave files that no record names, only tell of them", default=False)
_FORCE = Query("force", "flag", "although namespaces still miss the blob", default=False)
_ACTIVE = Query("active", "flag", "measure what containers have written, too", default=False)
_QUARANTINE = "/v1/content/quarantine"
ROUTES = (
    Route("GET", "/v1/content/scrub", status, "How far verification has come", ScrubStatus, scope=Scope.NODE),
    Route(
        "POST",
        "/v1/content/scrub",
        scrub,
        "Verify blobs on disk now",
        ScrubReport,
        query=(_NAMESPACE, _KEEP, DETACH),
        role=Role.ADMIN,
        scope=Scope.NODE,
        long=True,
        errors=(FailedPrecondition,),
    ),
    Route(
        "GET",
        _QUARANTINE,
        quarantined,
        "List blobs that were taken out of service",
        QuarantinedBlob,
        Shape.LIST,
        scope=Scope.NODE,
    ),
    Route(
        "POST",
        f"{_QUARANTINE}/{{digest}}/fetch",
        fetch,
        "Bring a blob back from where it came",
        QuarantinedBlob,
        role=Role.ADMIN,
        scope=Scope.NODE,
        errors=(NotFound, FailedPrecondition, Unavailable, DataLoss),
    ),
    Route(
        "DELETE",
        f"{_QUARANTINE}/{{digest}}",
        release,
        "Remove a blob from quarantine",
        QuarantinedBlob,
        query=(_FORCE,),
        role=Role.ADMIN,
        scope=Scope.NODE,
        errors=(NotFound, FailedPrecondition),
    ),
    Route(
        "GET",
        "/v1/{ns}/content/{digest}/check",
        check,
        "When a blob was last verified",
        BlobCheck,
        errors=(NotFound,),
    ),
    Route(
        "GET",
        "/v1/namespaces/{namespace}/usage",
        usage,
        "What a namespace uses, and its budget",
        NamespaceUsage,
        query=(_ACTIVE,),
        errors=(NotFound,),
    ),
)
