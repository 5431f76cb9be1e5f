"""What runs in a container: verbs, exec, attach, logs, figures."""

from __future__ import annotations

import math
from typing import Any

from tricorn.api.http.bodies import Empty, Pids, ResizeRequest
from tricorn.api.http.query import Query
from tricorn.api.http.replies import Channel, Upgraded
from tricorn.api.http.routes.output import STATE, attach_route, lines_of, log_route
from tricorn.api.http.routing import Call, Route, Scope, Shape
from tricorn.api.http.stdio import run_attach, run_exec
from tricorn.errors import DeadlineExceeded, InvalidArgument
from tricorn.model.health import HealthView
from tricorn.model.requests import (
    ContainerView,
    ExecRequest,
    ExecResult,
    ExitView,
    KillRequest,
    LimitsUpdate,
    LimitsView,
    StopRequest,
    WaitView,
)
from tricorn.model.samples import ContainerSample, ProcessInfo
from tricorn.rules.authorise import Role


async def start(call: Call) -> object:
    return await call.services.tasks.start(call.namespace, call.path["id"])


async def stop(call: Call) -> object:
    body: StopRequest = call.body
    return await call.services.tasks.stop(call.namespace, call.path["id"], body)


async def restart(call: Call) -> object:
    body: StopRequest = call.body
    return await call.services.tasks.restart(call.namespace, call.path["id"], body)


async def kill(call: Call) -> object:
    body: KillRequest = call.body
    call.audit.note(signal=body.signal)
    await call.services.tasks.kill(call.namespace, call.path["id"], body)
    return Empty()


async def pause(call: Call) -> object:
    return await call.services.tasks.pause(call.namespace, call.path["id"])


async def resume(call: Call) -> object:
    return await call.services.tasks.resume(call.namespace, call.path["id"])


async def wait(call: Call) -> object:
    return await call.services.tasks.wait(call.namespace, call.path["id"])


async def wait_many(call: Call) -> object:
    query = call.query
    timeout = math.inf if query["timeout"] is None else query["timeout"]
    return await call.services.waiting.wait(
        call.namespace, query["container"], state=query["state"], any=query["any"], timeout=timeout
    )


async def execute(call: Call) -> object:
    def opened(request: ExecRequest) -> None:
        # The program is told, its arguments aren't: they may hold secrets.
        call.audit.note(program=request.args[0][:200] if request.args else "", privileged=request.privileged)

    if call.upgrade:

        async def run(channel: Channel) -> None:
            await run_exec(call, channel, opened)

        return Upgraded(run)
    body: ExecRequest = call.body
    opened(body)
    return await call.services.tasks.exec(call.namespace, call.path["id"], body)


async def attach(call: Call) -> object:
    async def run(channel: Channel) -> None:
        await run_attach(call, channel)

    return Upgraded(run)


async def logs(call: Call) -> object:
    return lines_of(call, call.services.tasks.logs, call.namespace, call.path["id"])


async def update(call: Call) -> object:
    return await call.services.limits.update(call.namespace, call.path["id"], call.body)


async def close_stdin(call: Call) -> object:
    await call.services.processes.close_io(call.namespace, call.path["id"], "", stdin=True)
    return Empty()


async def resize(call: Call) -> object:
    body: ResizeRequest = call.body
    if not (0 < body.rows < 65536 and 0 < body.columns < 65536):
        raise InvalidArgument("rows and columns must be from 1 to 65535", field="rows")
    await call.services.tasks.resize(call.namespace, call.path["id"], body.rows, body.columns)
    return Empty()


async def stats(call: Call) -> object:
    return await call.services.tasks.stats(call.namespace, call.path["id"])


async def samples(call: Call) -> object:
    return await call.services.samples.take(call.namespace or None, call.query.get("container", ()))


async def processes(call: Call) -> object:
    return await call.services.samples.processes(call.namespace, call.path["id"])


async def health(call: Call) -> object:
    query = call.query
    services, name = call.services, call.path["id"]
    if query["wait"]:
        return await services.health.wait_healthy(call.namespace, name, query["timeout"])
    return await services.health.get(call.namespace, name)


async def pids(call: Call) -> object:
    return Pids(tuple(await call.services.tasks.pids(call.namespace, call.path["id"])))


_ONE = "/v1/{ns}/containers/{id}"
_CONDITION = Query("condition", "text", "what to wait for", default="stopped", choices=("stopped",))
_WAIT = (
    Query("container", "texts", "whom to wait for; may be repeated", default=(), required=True),
    Query("state", "text", "what for", default="exited", choices=("exited", "running", "healthy")),
    Query("any", "flag", "until one of them is there", default=False),
    Query("timeout", "number", "seconds to wait; without it, for ever"),
)
_START = Query("start", "flag", "attach first, then start", default=False)


def _verb(name: str, handler: Any, summary: str, **more: Any) -> Route:
    settings = {"result": ContainerView, "role": Role.OPERATE, "errors": STATE, **more}
    return Route("POST", f"{_ONE}/{name}", handler, summary, **settings)


ROUTES = (
    _verb("start", start, "Start a container"),
    _verb("stop", stop, "Ask it to end, kill it when its time is up", body=StopRequest),
    _verb("restart", restart, "Stop it, if it runs, and start it again", body=StopRequest),
    _verb("kill", kill, "Send a signal", result=Empty, body=KillRequest),
    _verb("pause", pause, "Freeze all its processes"),
    _verb("resume", resume, "Let them go on"),
    _verb(
        "exec",
        execute,
        "Run a process in it, whole or over the frame protocol",
        result=ExecResult,
        body=ExecRequest,
        upgradable=True,
    ),
    _verb("update", update, "Change its limits", result=LimitsView, body=LimitsUpdate),
    _verb("close-stdin", close_stdin, "End its standard input", result=Empty),
    _verb("resize", resize, "Set the size of its terminal", result=Empty, body=ResizeRequest),
    Route(
        "GET",
        f"{_ONE}/wait",
        wait,
        "Wait until it has ended",
        ExitView,
        query=(_CONDITION,),
        endless=True,
        errors=STATE,
    ),
    Route(
        "GET",
        "/v1/{ns}/wait",
        wait_many,
        "Wait until several containers have reached a state",
        WaitView,
        Shape.LIST,
        query=_WAIT,
        endless=True,
        errors=(*STATE, DeadlineExceeded),
    ),
    attach_route(_ONE, attach, _START),
    log_route(_ONE, logs),
    Route("GET", f"{_ONE}/stats", stats, "Figures of its cgroup", dict, errors=STATE),
    Route(
        "GET",
        "/v1/{ns}/stats",
        samples,
        "What running containers use",
        ContainerSample,
        Shape.LIST,
        query=(Query("container", "texts", "only these; may be repeated", default=()),),
        errors=STATE,
    ),
    Route(
        "GET",
        "/v1/stats",
        samples,
        "What running containers of all namespaces use",
        ContainerSample,
        Shape.LIST,
        scope=Scope.NODE,
    ),
    Route(
        "GET",
        f"{_ONE}/processes",
        processes,
        "Its processes, as the node sees them",
        ProcessInfo,
        Shape.LIST,
        errors=STATE,
    ),
    Route(
        "GET",
        f"{_ONE}/health",
        health,
        "How it fares, by its health check",
        HealthView,
        query=(
            Query("wait", "flag", "answer once it is healthy", default=False),
            Query("timeout", "number", "seconds to wait for that", default=60.0),
        ),
        endless=True,
        errors=(*STATE, DeadlineExceeded),
    ),
    Route("GET", f"{_ONE}/pids", pids, "Its processes, by the node's numbers", Pids, errors=STATE),
)
