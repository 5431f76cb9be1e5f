"""Errors that only HTTP knows, and the problem documents of all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from tricorn.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    TricornError,
    Unavailable,
    Unimplemented,
)
from tricorn.service.exhaustion import exhausted

CONTENT_TYPE: Final = "application/problem+json"


class MethodNotAllowed(Unimplemented):
    """The path exists, without this method. `allowed` lists what it has."""

    http = 405

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        self.allowed = ", ".join(allowed)
        super().__init__(f"{path[:200]} has no method {method[:20]}", hint=f"it has {self.allowed}")


class HeadersTooLarge(ResourceExhausted):
    http = 431


class RequestTooSlow(DeadlineExceeded):
    http = 408


class UpgradeRequired(FailedPrecondition):
    http = 426


def no_such_path(path: str) -> NotFound:
    return NotFound(f"no such path: {path[:200]}", hint="GET /v1/openapi.json lists all of them")


def malformed(why: str) -> InvalidArgument:
    return InvalidArgument("the request isn't valid HTTP", why=why)


def body_too_large(limit: int) -> ResourceExhausted:
    return ResourceExhausted("the request's body is too large", why=f"at most {limit} bytes", limit=limit)


def mistake(error: BaseException | None = None) -> TricornError:
    """Return what a client is told of an unforeseen exception; the log has the rest."""
    return (exhausted(error) if error else None) or Internal(
        "the agent made a mistake", hint="its log has the details"
    )


def stopping() -> Unavailable:
    return Unavailable("the agent is stopping", hint="try again when it has restarted")


def document(error: TricornError) -> bytes:
    """Return the error's problem document as JSON."""
    return msgspec.json.encode(error.problem(), enc_hook=str)
