"""Execs that go on without a client: started, joined, waited for, removed."""

from __future__ import annotations

from typing import Any

from tricorn.api.http.bodies import Empty, ResizeRequest
from tricorn.api.http.query import Query
from tricorn.api.http.replies import Channel, Upgraded
from tricorn.api.http.routes.output import STATE, attach_route, lines_of, log_route
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.api.http.stdio import run_attach_exec
from tricorn.errors import AlreadyExists, NotFound, ResourceExhausted
from tricorn.model.execs import ExecStart, ExecView
from tricorn.model.requests import ExitView, KillRequest
from tricorn.rules.authorise import Role


def _where(call: Call) -> tuple[str, str, str]:
    return call.namespace, call.path["id"], call.path["exec"]


async def start(call: Call) -> object:
    body: ExecStart = call.body
    # The program is told, its arguments aren't: they may hold secrets.
    call.audit.note(program=body.args[0][:200] if body.args else "", privileged=body.privileged)
    view = await call.services.execs.start(call.namespace, call.path["id"], body)
    call.audit.note(exec=view.id)
    return view


async def list_all(call: Call) -> object:
    return await call.services.execs.list(call.namespace, call.path["id"])


async def get(call: Call) -> object:
    return await call.services.execs.get(*_where(call))


async def wait(call: Call) -> object:
    return await call.services.execs.wait(*_where(call))


async def kill(call: Call) -> object:
    body: KillRequest = call.body
    call.audit.note(signal=body.signal)
    await call.services.execs.kill(*_where(call), body)
    return Empty()


async def resize(call: Call) -> object:
    body: ResizeRequest = call.body
    await call.services.execs.resize(*_where(call), body.rows, body.columns)
    return Empty()


async def close_stdin(call: Call) -> object:
    await call.services.execs.close_stdin(*_where(call))
    return Empty()


async def attach(call: Call) -> object:
    async def run(channel: Channel) -> None:
        await run_attach_exec(call, channel)

    return Upgraded(run)


async def logs(call: Call) -> object:
    return lines_of(call, call.services.execs.logs, *_where(call))


async def remove(call: Call) -> object:
    await call.services.execs.remove(*_where(call), force=call.query["force"])
    return Empty()


_ALL = "/v1/{ns}/containers/{id}/execs"
_ONE = f"{_ALL}/{{exec}}"
_REPLAY = Query("replay", "flag", "from the beginning of what is kept of its output", default=False)
_FORCE = Query("force", "flag", "kill it first if it runs", default=False)


def _verb(name: str, handler: Any, summary: str, **more: Any) -> Route:
    settings = {"result": Empty, "role": Role.OPERATE, "errors": STATE, **more}
    return Route("POST", f"{_ONE}/{name}", handler, summary, **settings)


ROUTES = (
    Route("GET", _ALL, list_all, "List a container's execs", ExecView, Shape.LIST, errors=(NotFound,)),
    Route(
        "POST",
        _ALL,
        start,
        "Run a process in it that goes on without a client",
        ExecView,
        body=ExecStart,
        role=Role.OPERATE,
        status=201,
        errors=(*STATE, AlreadyExists, ResourceExhausted),
    ),
    Route("GET", _ONE, get, "Look at an exec", ExecView, errors=(NotFound,)),
    Route(
        "DELETE",
        _ONE,
        remove,
        "Forget an exec that has ended",
        Empty,
        query=(_FORCE,),
        role=Role.OPERATE,
        errors=STATE,
    ),
    Route("GET", f"{_ONE}/wait", wait, "Wait until it has ended", ExitView, endless=True, errors=(NotFound,)),
    _verb("kill", kill, "Send a signal to its process", body=KillRequest),
    _verb("resize", resize, "Set the size of its terminal", body=ResizeRequest),
    _verb("close-stdin", close_stdin, "End its standard input"),
    attach_route(_ONE, attach, _REPLAY),
    log_route(_ONE, logs),
)
