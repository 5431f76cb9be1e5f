"""What becomes of an exception on its way to a gRPC client."""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import structlog

from tricorn.errors import TricornError
from tricorn.grpc import Code, Status
from tricorn.service.exhaustion import exhausted

log = structlog.get_logger(__name__)
_MESSAGE: Final = 4000  # characters; a client keeps headers and trailers within some kilobytes

_LAST_WORDS: Final = {
    "InvalidArgument": "invalid argument", "NotFound": "not found", "AlreadyExists": "already exists",
    "PermissionDenied": "permission denied", "PolicyDenied": "permission denied",
    "ResourceExhausted": "resource exhausted",
    "FailedPrecondition": "failed precondition", "Conflict": "conflict", "Aborted": "aborted",
    "OutOfRange": "out of range", "Unimplemented": "not implemented", "Internal": "internal error",
    "Unavailable": "unavailable", "DataLoss": "data loss", "Unauthenticated": "unauthenticated",
    "Canceled": "context canceled", "DeadlineExceeded": "context deadline exceeded", "Unknown": "unknown",
}  # fmt: skip


def translate(error: BaseException) -> Status:
    """Return the status of what a handler raised: a TricornError's own, INTERNAL for what nobody expected.

    The log has the story of the latter under the id that its message names.
    """
    error = _only_leaf(error)
    error = exhausted(error) or error
    if isinstance(error, TricornError):
        return Status(Code(error.grpc), _text(error))
    identity = uuid4().hex[:12]
    log.error("call failed", id=identity, exc_info=error)
    return Status(Code.INTERNAL, f"the agent made a mistake (its log has the details under {identity})")


def _text(error: TricornError) -> str:
    """Return the message with the last words that containerd's messages of this code have.

    Its Go clients tell a conflict from other failed preconditions by them, and scripts look for them.
    """
    return f"{error.one_line()[:_MESSAGE]}: {_LAST_WORDS[error.code]}"


def _only_leaf(error: BaseException) -> BaseException:
    """Return what a nursery wrapped, if it wrapped one thing."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
