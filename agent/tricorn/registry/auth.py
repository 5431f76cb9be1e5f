"""Answers registries' challenges: basic, and bearer tokens of the Docker token service.

Credentials go to the host that challenged, or to its token realm where that is reached at least as safely:
the realm is https, or plain HTTP on the very host of a registry that is itself asked by plain HTTP.
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio
from attrs import define, evolve, field, frozen

from tricorn import limits
from tricorn.errors import InvalidArgument, PermissionDenied, Unauthenticated
from tricorn.model.requests import HeaderAuth, RegistryAuth
from tricorn.registry.challenge import Challenge, parse_challenges
from tricorn.registry.connection import Head
from tricorn.registry.token import Issued, ask_with_get, ask_with_post
from tricorn.registry.url import Origin, Url, origin_of
from tricorn.registry.wire import Request, Wire
from tricorn.rules.hosts import RegistryHost, TlsSettings

_MARGIN: Final = 0.1  # of a token's life, left unused so that none expires on its way
_Key = tuple[Origin, str, str]


@frozen
class _Grant:
    """An Authorization header's value and the time (Trio's clock) it is good until."""

    header: str = field(repr=False)
    until: float


@define
class _Turn:
    lock: trio.Lock = field(factory=trio.Lock)
    users: int = 0


class Authorizer:
    """Keeps the grants of a client: bounded, in memory only, one refresh at a time for each
    (host, repository, credentials).
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._grants: OrderedDict[_Key, _Grant] = OrderedDict()
        self._turns: dict[_Key, _Turn] = {}

    def __len__(self) -> int:
        return len(self._grants)

    def known(self, host: RegistryHost, scope: str, auth: RegistryAuth | None) -> str:
        """Return the Authorization value to send at once, or an empty string."""
        key = _key(host, scope, auth)
        grant = self._grants.get(key)
        if grant is None or grant.until <= trio.current_time():
            self._grants.pop(key, None)
            return ""
        self._grants.move_to_end(key)
        return grant.header

    async def answer(
        self,
        host: RegistryHost,
        head: Head,
        scope: str,
        auth: RegistryAuth | None,
        *,
        refused: str,
        configured: Callable[[], Awaitable[RegistryAuth | None]],
    ) -> str:
        """Return the Authorization value that answers the challenge in `head` of a 401.

        `refused` is what was sent and not accepted; `configured` is asked for credentials when `auth` has
        none. Raises Unauthenticated when there is no answer, PermissionDenied for a realm that must not be
        asked, Unavailable for the network, and what `configured` raises.
        """
        key = _key(host, scope, auth)
        async with self._turn(key):
            newer = self.known(host, scope, auth)
            if newer and newer != refused:
                return newer
            grant = await self._obtain(host, head, scope, auth or await configured())
            self._grants[key] = grant
            while len(self._grants) > limits.REGISTRY_TOKENS:
                self._grants.popitem(last=False)
            return grant.header

    @asynccontextmanager
    async def _turn(self, key: _Key) -> AsyncIterator[None]:
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[key]

    async def _obtain(self, host: RegistryHost, head: Head, scope: str, auth: RegistryAuth | None) -> _Grant:
        challenges = {each.scheme: each for each in reversed(parse_challenges(head.all("www-authenticate")))}
        if isinstance(auth, HeaderAuth) and auth.header:
            return _Grant(checked_header(auth.header), float("inf"))
        if "bearer" in challenges:
            return await self._bearer(host, challenges["bearer"], scope, auth)
        if "basic" in challenges and auth is not None and (auth.username or auth.password):
            return _Grant(basic(auth), float("inf"))
        raise Unauthenticated(
            f"{origin_of(host)} wants authentication",
            why=f"it offers {', '.join(challenges)[:100] or 'no scheme'}",
            hint="give credentials for this registry",
        )

    async def _bearer(
        self, host: RegistryHost, challenge: Challenge, scope: str, auth: RegistryAuth | None
    ) -> _Grant:
        realm = checked_realm(host, challenge.parameters.get("realm", ""))
        service = challenge.parameters.get("service", "")
        asked = merged_scope(challenge.parameters.get("scope", ""), scope)
        request = Request("GET", realm, tls=_realm_tls(host, realm), dial_timeout=host.dial_timeout)
        started = trio.current_time()
        issued = await self._ask(request, service, asked, auth)
        return _Grant(f"Bearer {issued.token}", started + issued.seconds * (1 - _MARGIN))

    async def _ask(self, request: Request, service: str, scope: str, auth: RegistryAuth | None) -> Issued:
        """An identity token goes by OAuth's POST; servers without it get user and password by GET."""
        if auth is not None and auth.identity_token:
            issued = await ask_with_post(self._wire, request, service, scope, auth.identity_token)
            if issued is not None:
                return issued
            if not auth.password:
                raise Unauthenticated(
                    f"token server {request.url.origin} takes no identity tokens",
                    hint="give user name and password",
                )
        with_password = auth is not None and bool(auth.username or auth.password)
        header = basic(auth) if auth is not None and with_password else ""
        return await ask_with_get(self._wire, request, service, scope, header)


def merged_scope(challenged: str, wanted: str) -> str:
    """Return the scope that a challenge names with the actions added that the call will need besides, so
    that a push whose first question only reads doesn't fetch a token for each kind of request.
    """
    merged: dict[str, list[str]] = {}
    for each in f"{challenged} {wanted}".split():
        resource, _, actions = each.rpartition(":")
        known = merged.setdefault(resource, [])
        known += [action for action in actions.split(",") if action not in known]
    return " ".join(f"{resource}:{','.join(actions)}" for resource, actions in merged.items())


def checked_header(value: str) -> str:
    """Return an Authorization value as a client gave it; InvalidArgument if HTTP can't carry it."""
    if not value.isascii() or any(c < " " or c == "\x7f" for c in value):
        raise InvalidArgument("the authorization header is malformed", why="printable ASCII is expected")
    return value


def basic(auth: RegistryAuth) -> str:
    """Return the Basic Authorization value; InvalidArgument for a user name that has none."""
    if ":" in auth.username or any(c < " " for c in auth.username + auth.password):
        raise InvalidArgument("user name or password holds characters that HTTP can't carry", field="auth")
    return "Basic " + base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()


def checked_realm(host: RegistryHost, realm: str) -> Url:
    """Return the token server's URL if it may be asked; PermissionDenied for a downgrade or a bad URL."""
    try:
        url = Url.parse(realm, "realm")
    except InvalidArgument as error:
        raise _refused(host, str(error)) from None
    same_plain_host = host.scheme == "http" and url.origin.host == host.host
    if url.origin.scheme != "https" and not same_plain_host:
        raise _refused(host, f"{url.origin} is not reached by https")
    return url


def _refused(host: RegistryHost, why: str) -> PermissionDenied:
    return PermissionDenied(
        f"{origin_of(host)} names a token server that isn't asked",
        why=why,
        hint="a token server needs https, or must be the plain HTTP registry's own host",
    )


def _realm_tls(host: RegistryHost, realm: Url) -> TlsSettings:
    """The registry's own host is trusted as configured; another only by certificate."""
    if realm.origin.host == host.host:
        return host.tls
    return evolve(host.tls, client=(), skip_verify=False)


def _key(host: RegistryHost, scope: str, auth: RegistryAuth | None) -> _Key:
    """Configured credentials, and none at all, have an empty secret: they are looked up on a challenge."""
    secret = repr(attrs.astuple(auth)) if auth else ""
    return origin_of(host), scope, hashlib.sha256(secret.encode()).hexdigest()
