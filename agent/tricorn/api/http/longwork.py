"""Long work in its three modes: wait for it, get its id, or watch its progress."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trio

from tricorn.api.http.codec import encode
from tricorn.api.http.replies import Lines, Whole, drawing_from
from tricorn.api.http.routing import Call

if TYPE_CHECKING:
    from tricorn.service.operations import Operation
    from tricorn.service.progress import Reporter

Work = Callable[["Reporter"], Awaitable[Any]]


async def run(call: Call, kind: str, what: str, work: Work, *, status: int = 200) -> object:
    """Run `work` as an operation and answer as the client prefers. An operation whose client goes away
    is cancelled, unless the client asked for it to be detached.
    """
    operation = call.services.operations.run(call.namespace, kind, what, work)
    if call.respond_async:
        return _accepted(operation)
    owned = not call.query["detach"]
    if call.lines:
        return Lines(_watch(operation), ended=_leave(operation, owned=owned), status=status)
    result = await _outcome(operation, owned=owned)
    return Whole(status, encode(result))


async def put(call: Call, kind: str, what: str, state: Callable[..., Awaitable[Any]]) -> object:
    """Answer a `PUT` of a desired state: under `plan` what it would take, else as `run` does. `state` takes
    `plan` or `report` by name.
    """
    if call.query["plan"]:
        return await state(plan=True)
    return await run(call, kind, what, lambda report: state(report=report))


def _accepted(operation: Operation) -> Whole:
    view = operation.view()
    place = f"/v1/{quote(view.namespace, safe='')}/operations/{quote(view.id, safe='')}"
    return Whole(202, encode(view), headers=(("Location", place), ("Preference-Applied", "respond-async")))


async def _outcome(operation: Operation, *, owned: bool) -> object:
    try:
        view = await operation.wait()
    except trio.Cancelled:
        if owned:
            operation.cancel()
        raise
    if operation.error is not None:
        raise operation.error
    return view.result


async def _watch(operation: Operation) -> AsyncIterator[object]:
    async with drawing_from(operation.progress()) as steps:
        async for progress in steps:
            yield {"progress": progress}
    yield {"result": await _outcome(operation, owned=False)}


def _leave(operation: Operation, *, owned: bool) -> Callable[[str], None]:
    def ended(_: str) -> None:
        if owned:
            operation.cancel()  # no effect on one that has ended

    return ended
