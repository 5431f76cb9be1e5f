"""Operations: long work that can be watched and cancelled."""

from __future__ import annotations

from tricorn.api.http.replies import Lines
from tricorn.api.http.routing import Call, Route, Shape
from tricorn.errors import NotFound
from tricorn.model.requests import OperationView, Progress
from tricorn.rules.authorise import Role


async def list_all(call: Call) -> object:
    return call.services.operations.list(call.namespace)


async def get(call: Call) -> object:
    return call.services.operations.get(call.namespace, call.path["operation"]).view()


async def cancel(call: Call) -> object:
    operation = call.services.operations.get(call.namespace, call.path["operation"])
    operation.cancel()
    return operation.view()


async def progress(call: Call) -> object:
    return Lines(call.services.operations.get(call.namespace, call.path["operation"]).progress())


_ALL, _ONE = "/v1/{ns}/operations", "/v1/{ns}/operations/{operation}"
ROUTES = (
    Route("GET", _ALL, list_all, "List operations, the oldest first", OperationView, Shape.LIST),
    Route("GET", _ONE, get, "Look at an operation", OperationView, errors=(NotFound,)),
    Route(
        "DELETE",
        _ONE,
        cancel,
        "Ask an operation to stop",
        OperationView,
        role=Role.OPERATE,
        errors=(NotFound,),
    ),
    Route(
        "GET",
        f"{_ONE}/progress",
        progress,
        "Watch an operation to its end",
        Progress,
        Shape.LINES,
        endless=True,
        errors=(NotFound,),
    ),
)
