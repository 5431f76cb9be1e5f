"""Files into containers and out of them."""

from __future__ import annotations

from tricorn.api.http.query import PLAN, Query
from tricorn.api.http.replies import Streamed, Write
from tricorn.api.http.routing import Call, Route, Scope, Shape
from tricorn.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
from tricorn.model.copies import FileDesired, NodeCopy, PathView, Placing
from tricorn.model.requests import Change
from tricorn.rules.authorise import Role


async def look(call: Call) -> object:
    query = call.query
    return await call.services.copies.look(
        call.namespace, call.path["id"], query["path"], follow=query["follow"], digest=query["digest"]
    )


async def send(call: Call) -> object:
    query = call.query

    async def run(write: Write) -> None:
        await call.services.copies.send(
            call.namespace, call.path["id"], query["path"], write, follow=query["follow"]
        )

    return Streamed(run)


async def place(call: Call) -> object:
    query = call.query
    assert call.receive is not None
    call.audit.note(file=query["path"][:200])
    names = ("uid", "gid", "mode", "directory_mode", "parents", "plan")
    placing = Placing(**{name: query[name] for name in names})
    return await call.services.copies.place(
        call.namespace, call.path["id"], query["path"], call.receive, placing
    )


async def put(call: Call) -> object:
    body: FileDesired = call.body
    call.audit.note(file=body.path[:200])
    return await call.services.copies.put(call.namespace, call.path["id"], body, plan=call.query["plan"])


async def copy(call: Call) -> object:
    body: NodeCopy = call.body
    call.audit.note(file=body.path[:200], node_file=body.node_path[:200], to=body.to)
    return await call.services.copies.copy(call.namespace, call.path["id"], body, plan=call.query["plan"])


_ONE = "/v1/{ns}/containers/{id}"
_PATH = Query("path", "text", "absolute path in the container", required=True)
_FOLLOW = Query("follow", "flag", "what a symlink points to instead of the link", default=False)
_ERRORS = (NotFound, FailedPrecondition, InvalidArgument, ResourceExhausted, Aborted, Unimplemented)
ROUTES = (
    Route(
        "GET",
        f"{_ONE}/files",
        look,
        "Look at one path in a container",
        PathView,
        query=(_PATH, _FOLLOW, Query("digest", "flag", "a file's SHA-256, too", default=False)),
        role=Role.OPERATE,
        errors=_ERRORS,
    ),
    Route(
        "PUT",
        f"{_ONE}/files",
        put,
        "Make sure that a file in a container has this content, or that a directory is there",
        Change,
        query=(PLAN,),
        body=FileDesired,
        role=Role.OPERATE,
        errors=_ERRORS,
    ),
    Route(
        "GET",
        f"{_ONE}/archive",
        send,
        "A file or directory of a container as a tar",
        shape=Shape.BYTES,
        query=(_PATH, _FOLLOW),
        role=Role.OPERATE,
        errors=_ERRORS,
    ),
    Route(
        "PUT",
        f"{_ONE}/archive",
        place,
        "Put the members of a tar in place below a directory of a container",
        Change,
        query=(
            _PATH,
            Query("uid", "integer", "owner of all, in place of the archive's"),
            Query("gid", "integer", "group of all, in place of the archive's"),
            Query("mode", "integer", "mode of files, as a decimal number, in place of the archive's"),
            Query("directory_mode", "integer", "mode of directories, likewise"),
            Query("parents", "flag", "make missing directories", default=False),
            PLAN,
        ),
        raw=True,
        role=Role.OPERATE,
        errors=_ERRORS,
    ),
    Route(
        "PUT",
        f"{_ONE}/copy",
        copy,
        "Make sure that a path of the node and one in a container are the same",
        Change,
        query=(PLAN,),
        body=NodeCopy,
        role=Role.OPERATE,
        scope=Scope.NODE,
        errors=_ERRORS,
    ),
)
