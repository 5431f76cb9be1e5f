"""Requests to one host of a plan, with the right credentials and none for anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final
from urllib.parse import urlencode

import trio
from attrs import evolve, field, frozen

from tricorn.model.reference import Reference
from tricorn.model.requests import RegistryAuth
from tricorn.ports import Auth
from tricorn.registry.auth import Authorizer
from tricorn.registry.connection import Header, Upload
from tricorn.registry.url import Url, origin_of
from tricorn.registry.wire import Request, Response, Wire
from tricorn.rules.hosts import HostPlan, RegistryHost

_DRAIN: Final = 64 * 1024
# What is configured for a host, by its name; asked once a host has sent a challenge.
Credentials = Callable[[str], Awaitable[RegistryAuth | None]]


@frozen
class Call:
    """One call of the registry port: what is asked for, where, and as whom. `configured` says whether the
    agent's own credentials may be used: not on a way that a client has laid out.
    """

    reference: Reference
    plan: HostPlan
    auth: Auth | None = field(default=None, repr=False)
    trace: Callable[[str], None] | None = None
    configured: bool = True


@frozen
class Outgoing:
    """What a request carries beside its head, and for what it needs permission.

    `url` is where a registry told to go on (an upload's Location); it may be another origin's. `scope` is
    that of a token to ask for; empty: pulling from the call's repository.
    """

    body: bytes = field(default=b"", repr=False)
    upload: Upload | None = None
    url: Url | None = None
    query: str = ""
    scope: str = ""


_NOTHING: Final = Outgoing()


class Access:
    """Sends requests under a repository's path and answers 401 challenges, once for each request."""

    def __init__(self, wire: Wire, authorizer: Authorizer, credentials: Credentials | None) -> None:
        self._wire = wire
        self._authorizer = authorizer
        self._credentials = credentials

    @asynccontextmanager
    async def open(
        self,
        call: Call,
        host: RegistryHost,
        method: str,
        path: str,
        headers: tuple[Header, ...] = (),
        out: Outgoing = _NOTHING,
    ) -> AsyncIterator[Response]:
        """Yield the answer to `method` on `path` of the call's repository, whatever its status.

        A challenge is answered only if it comes from `host` itself, not from where it redirects to.
        """
        auth = _given(call, host)
        scope = out.scope or f"repository:{call.reference.path}:pull"
        sent = self._authorizer.known(host, scope, auth)
        for last in (False, True):
            request = _request(call, host, (method, path), headers, sent, out)
            async with self._wire.follow(request) as response:
                if last or response.status != 401 or response.url.origin != origin_of(host):
                    yield response
                    return
                with trio.move_on_after(response.pacing.stall):
                    await response.read(_DRAIN, cut=True)
            auth = await _asked(call, host, response) or auth
            sent = await self._authorizer.answer(
                host,
                response.head,
                scope,
                auth,
                refused=sent,
                configured=partial(self._configured, call, host),
            )

    async def _configured(self, call: Call, host: RegistryHost) -> RegistryAuth | None:
        """What is configured for `host` itself or, where it is the registry of the reference under another
        name or port, for that registry. Nobody else gets a registry's credentials.
        """
        if self._credentials is None or not call.configured or host.plain_by_request:
            return None
        for name in credential_names(call.plan, host):
            auth = await self._credentials(name)
            if auth is not None:
                return auth
        return None


def credential_names(plan: HostPlan, host: RegistryHost) -> tuple[str, ...]:
    """Return the names under which credentials for `host` are looked for, in order."""
    names = [plan.registry] if plan.is_registry_itself(host) else []
    return tuple(dict.fromkeys([*names, host.authority]))


def _given(call: Call, host: RegistryHost) -> RegistryAuth | None:
    """The request's credentials are for the registry it names; mirrors have configured ones or none."""
    if not host.upstream or call.auth is None:
        return None
    return call.auth if isinstance(call.auth, RegistryAuth) else call.auth.known(host.authority)


async def _asked(call: Call, host: RegistryHost, response: Response) -> RegistryAuth | None:
    """What the call's credential source says to a challenge, asked once for a host."""
    if not host.upstream or call.auth is None or isinstance(call.auth, RegistryAuth):
        return None
    known = call.auth.known(host.authority)
    return known or await call.auth.ask(host.authority, response.head.all("www-authenticate"))


def _request(
    call: Call,
    host: RegistryHost,
    ask: tuple[str, str],
    headers: tuple[Header, ...],
    authorization: str,
    out: Outgoing,
) -> Request:
    method, path = ask
    private, tls, timeout = host.headers, host.tls, host.dial_timeout
    if authorization:
        kept = tuple(pair for pair in private if pair[0].lower() != "authorization")
        private = (*kept, ("Authorization", authorization))
    query = urlencode({"ns": call.plan.registry}) if call.plan.is_mirror(host) else ""
    query = "&".join(filter(None, (query, out.query)))
    url = out.url or Url(origin_of(host), f"{host.path_prefix}/{call.reference.path}{path}", query)
    if url.origin != origin_of(host):  # nothing of what this host is told or trusted with goes elsewhere
        private, tls, timeout = (), evolve(tls, client=()), None
    return Request(
        method,
        url,
        headers,
        private,
        body=out.body,
        upload=out.upload,
        tls=tls,
        dial_timeout=timeout,
        trace=call.trace,
    )
