"""What a registry's refusals mean: HTTP statuses and error documents mapped to typed errors."""

from __future__ import annotations

import email.utils
import json
from contextlib import suppress
from typing import Any, Final

import trio

from tricorn import limits
from tricorn.errors import (
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    TricornError,
    Unauthenticated,
    Unavailable,
)
from tricorn.registry.connection import Head
from tricorn.registry.wire import Response
from tricorn.rules.peers import HEADER

_MESSAGES: Final = 4
_MESSAGE_LENGTH: Final = 300


async def refusal(response: Response, who: str = "registry") -> TricornError:
    """Return the error for an answer that isn't a success; `who` gave it.

    The registry's own words are quoted only out of a well-formed error document, and in part.
    """
    body = b""
    with suppress(Unavailable), trio.move_on_after(response.pacing.stall):  # the status says enough
        body = await response.read(limits.REGISTRY_ERROR_BODY, cut=True)
    error = _error(response.status, f"{who} answers {response.status}", registry_message(body), response.head)
    if peer := response.head.get(HEADER):
        error.details["peer"] = peer[:60]
    return error


def registry_message(body: bytes) -> str:
    """Return the messages of an OCI error document on one line; empty for anything else."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list):
        return ""
    texts = [_one_message(error) for error in errors[:_MESSAGES] if isinstance(error, dict)]
    return "; ".join(filter(None, texts))[:_MESSAGE_LENGTH]


def retry_after(head: Head) -> float | None:
    """Return the seconds that Retry-After asks for, bounded; a date counts from the answer's own Date."""
    text = head.get("retry-after").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), limits.REGISTRY_BACKOFF_MAX)
    try:
        then = email.utils.parsedate_to_datetime(text)
        seconds = (then - email.utils.parsedate_to_datetime(head.get("date"))).total_seconds()
    except (ValueError, TypeError, IndexError):
        return None
    return max(0.0, min(seconds, limits.REGISTRY_BACKOFF_MAX))


def _one_message(error: dict[str, Any]) -> str:
    parts = [part for part in (error.get("code"), error.get("message")) if isinstance(part, str)]
    return "".join(c if c.isprintable() else " " for c in ": ".join(parts))


def _error(status: int, what: str, why: str, head: Head) -> TricornError:
    if status == 401:
        return Unauthenticated(what, why=why, hint="give credentials for this registry")
    if status == 403:
        return PermissionDenied(what, why=why, hint="these credentials may not pull it")
    if status in {404, 410}:
        hint = "check the name; registries also hide what needs credentials"
        return NotFound(what, why=why, hint=hint)
    if status in {408, 425, 429} or status >= 500:
        seconds = retry_after(head)
        details: dict[str, Any] = {} if seconds is None else {"retry_after": seconds}
        hint = "the registry limits how often it is asked: wait, or give credentials" if status == 429 else ""
        return Unavailable(what, why=why, hint=hint, **details)
    return FailedPrecondition(what, why=why)
