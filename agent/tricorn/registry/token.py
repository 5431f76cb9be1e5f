"""The two ways to ask a token server: the Docker registry's GET, and OAuth's POST for identity tokens."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import trio
from attrs import evolve, field, frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound, ResourceExhausted, Unauthenticated
from tricorn.registry.answers import refusal
from tricorn.registry.wire import Request, Response, Wire

_CLIENT_ID: Final = "tricorn"
_LIFE: Final = 60.0  # seconds, where the server doesn't say (Docker's token specification)
_LIFE_MAX: Final = 24 * 3600.0
_ASK: Final = "check the credentials; otherwise the registry's own set-up is broken: ask who runs it"
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


@frozen
class Issued:
    """A token and how many seconds it is good for."""

    token: str = field(repr=False)
    seconds: float


async def ask_with_get(wire: Wire, request: Request, service: str, scope: str, authorization: str) -> Issued:
    """Ask by GET, with Basic credentials or anonymously (`authorization` empty).

    Raises Unauthenticated, PermissionDenied, Unavailable.
    """
    query = parse_qsl(request.url.query, keep_blank_values=True)
    query += [("service", service)] if service else []
    query += [("scope", each) for each in scope.split()]
    url = evolve(request.url, query=urlencode(query))
    private = (("Authorization", authorization),) if authorization else ()
    async with wire.follow(evolve(request, url=url, private=private)) as response:
        if response.status != 200:
            raise await _refused(response)
        return await _issued(response)


async def ask_with_post(
    wire: Wire, request: Request, service: str, scope: str, refresh: str
) -> Issued | None:
    """Trade the identity token `refresh` for an access token; None if the server knows no such request."""
    form = {
        "grant_type": "refresh_token",
        "service": service,
        "client_id": _CLIENT_ID,
        "scope": scope,
        "refresh_token": refresh,
    }
    headers = (("Content-Type", "application/x-www-form-urlencoded"),)
    asked = evolve(request, method="POST", headers=headers, body=urlencode(form).encode())
    async with wire.send(asked) as response:
        if response.status in {404, 405}:
            return None
        if response.status != 200:
            raise await _refused(response)
        return await _issued(response)


async def _refused(response: Response) -> Exception:
    error = await refusal(response, f"token server {response.url.origin}")
    if isinstance(error, (NotFound, FailedPrecondition)):
        return Unauthenticated(error.what, why=error.why, hint=_ASK)
    return error


async def _issued(response: Response) -> Issued:
    body = b""
    with trio.move_on_after(response.pacing.stall):
        body = await _body(response)
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _nonsense(response)
    token = document.get("token") or document.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise _nonsense(response)
    return Issued(token, _life(document.get("expires_in")))


async def _body(response: Response) -> bytes:
    try:
        return await response.read(limits.REGISTRY_TOKEN_SIZE)
    except ResourceExhausted as error:
        raise Unauthenticated(error.what, why=error.why, hint=_ASK) from None


def _life(raw: Any) -> float:
    if (
        isinstance(raw, bool)
        or not isinstance(raw, (int, float))
        or math.isnan(min(raw, _LIFE_MAX))
        or raw <= 0
    ):
        return _LIFE
    return float(min(raw, _LIFE_MAX))


def _nonsense(response: Response) -> Unauthenticated:
    return Unauthenticated(f"token server {response.url.origin} answers without a token", hint=_ASK)
