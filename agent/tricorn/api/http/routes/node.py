"""The node itself: health, figures, version, what it can do."""

from __future__ import annotations

from tricorn.api.http.bodies import Health, InfoView, VersionView
from tricorn.api.http.query import PLAN, Query
from tricorn.api.http.replies import PROMETHEUS, Whole
from tricorn.api.http.routing import Call, Route, Scope, Shape
from tricorn.errors import InvalidArgument, Unavailable
from tricorn.model.cordon import CordonDesired, CordonView
from tricorn.model.requests import Change, NodeStop
from tricorn.rules.authorise import Role


async def health(call: Call) -> object:
    if not call.about.ready():
        raise Unavailable("the agent is not ready yet", hint="try again in a moment")
    return Health()


async def metrics(call: Call) -> object:
    return Whole(200, await call.about.metrics(), PROMETHEUS)


async def document(call: Call) -> object:
    return Whole(200, await call.about.document())


async def version(call: Call) -> object:
    return await call.services.node.version()


async def info(call: Call) -> object:
    return await call.services.node.info()


async def stop(call: Call) -> object:
    return await call.services.node_order.stop_all(call.query["timeout"], plan=call.query["plan"])


async def start(call: Call) -> object:
    return await call.services.node_order.start_all()


async def cordon(call: Call) -> object:
    return call.services.cordon.view


async def put_cordon(call: Call) -> object:
    body: CordonDesired = call.body
    return await call.services.cordon.put(body.reason, plan=call.query["plan"])


async def lift_cordon(call: Call) -> object:
    return await call.services.cordon.lift(plan=call.query["plan"])


ROUTES = (
    Route(
        "GET",
        "/healthz",
        health,
        "Whether the agent is ready",
        Health,
        scope=Scope.OPEN,
        early=True,
        errors=(Unavailable,),
    ),
    Route(
        "GET",
        "/metrics",
        metrics,
        "Figures in Prometheus' text format",
        None,
        Shape.TEXT,
        scope=Scope.NODE,
        early=True,
    ),
    Route(
        "GET", "/v1/version", version, "Versions of agent and API", VersionView, scope=Scope.OPEN, early=True
    ),
    Route(
        "GET",
        "/v1/info",
        info,
        "The node's layout, runtimes and capabilities",
        InfoView,
        scope=Scope.ANYWHERE,
    ),
    Route(
        "POST",
        "/v1/node/stop",
        stop,
        "Stop all containers in order, and start none again",
        NodeStop,
        query=(Query("timeout", "number", "at most so many seconds for each"), PLAN),
        role=Role.ADMIN,
        scope=Scope.NODE,
    ),
    Route(
        "POST",
        "/v1/node/start",
        start,
        "Let restart policies act again",
        NodeStop,
        role=Role.ADMIN,
        scope=Scope.NODE,
    ),
    Route(
        "GET",
        "/v1/node/cordon",
        cordon,
        "Whether the node takes on new containers",
        CordonView,
        scope=Scope.ANYWHERE,
    ),
    Route(
        "PUT",
        "/v1/node/cordon",
        put_cordon,
        "Have the node take on no new containers; what runs there runs on",
        Change,
        query=(PLAN,),
        body=CordonDesired,
        role=Role.ADMIN,
        scope=Scope.NODE,
        errors=(InvalidArgument,),
    ),
    Route(
        "DELETE",
        "/v1/node/cordon",
        lift_cordon,
        "Have the node take on containers again",
        Change,
        query=(PLAN,),
        role=Role.ADMIN,
        scope=Scope.NODE,
    ),
    Route(
        "GET", "/v1/openapi.json", document, "This description", None, Shape.ONE, scope=Scope.OPEN, early=True
    ),
)
