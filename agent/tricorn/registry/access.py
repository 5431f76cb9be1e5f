"""Requests to one host of a plan, with the right credentials and none for anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlencode

import trio
from attrs import field, frozen

from tricorn.model.reference import Reference
from tricorn.model.requests import RegistryAuth
from tricorn.registry.auth import Authorizer
from tricorn.registry.connection import Header
from tricorn.registry.url import Url, origin_of
from tricorn.registry.wire import Request, Response, Wire
from tricorn.rules.hosts import HostPlan, RegistryHost

_DRAIN: Final = 64 * 1024
Credentials = Callable[[str], RegistryAuth | None]


@frozen
class Call:
    """One call of the registry port: what is asked for, where, and as whom."""

    reference: Reference
    plan: HostPlan
    auth: RegistryAuth | None = field(default=None, repr=False)


class Access:
    """Sends requests under a repository's path and answers 401 challenges, once for each request."""

    def __init__(self, wire: Wire, authorizer: Authorizer, credentials: Credentials | None) -> None:
        self._wire = wire
        self._authorizer = authorizer
        self._credentials = credentials

    @asynccontextmanager
    async def open(
        self, call: Call, host: RegistryHost, method: str, path: str, headers: tuple[Header, ...] = ()
    ) -> AsyncIterator[Response]:
        """Yield the answer to `method` on `path` of the call's repository, whatever its status.

        A challenge is answered only if it comes from `host` itself, not from where it redirects to.
        """
        auth = self._auth(call, host)
        scope = f"repository:{call.reference.path}:pull"
        sent = self._authorizer.known(host, scope, auth)
        for last in (False, True):
            async with self._wire.follow(_request(call, host, (method, path), headers, sent)) as response:
                if last or response.status != 401 or response.url.origin != origin_of(host):
                    yield response
                    return
                with trio.move_on_after(response.pacing.stall):
                    await response.read(_DRAIN, cut=True)
            sent = await self._authorizer.answer(host, response.head, scope, auth, refused=sent)

    def _auth(self, call: Call, host: RegistryHost) -> RegistryAuth | None:
        """The request's credentials are for the registry it names; mirrors have their own or none."""
        if host.upstream and call.auth is not None:
            return call.auth
        if self._credentials is None:
            return None
        return self._credentials(call.plan.registry if host.upstream else host.authority)


def _request(
    call: Call, host: RegistryHost, ask: tuple[str, str], headers: tuple[Header, ...], authorization: str
) -> Request:
    method, path = ask
    private = host.headers
    if authorization:
        kept = tuple(pair for pair in private if pair[0].lower() != "authorization")
        private = (*kept, ("Authorization", authorization))
    query = urlencode({"ns": call.plan.registry}) if call.plan.is_mirror(host) else ""
    url = Url(origin_of(host), f"{host.path_prefix}/{call.reference.path}{path}", query)
    return Request(method, url, headers, private, tls=host.tls, dial_timeout=host.dial_timeout)
