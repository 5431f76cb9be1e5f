"""Challenges answered: basic, bearer, identity tokens; and the realms that never get a credential."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import parse_qs

import pytest
import structlog
import trio

from tricorn.errors import InvalidArgument, PermissionDenied, TricornError, Unauthenticated, Unavailable
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_MANIFEST, Descriptor
from tricorn.model.reference import Reference
from tricorn.model.requests import RegistryAuth
from tricorn.registry.auth import checked_realm
from tricorn.registry.client import RegistryClient
from tricorn.registry.credentials import CredentialBook, CredentialSettings
from tricorn.rules.hosts import plan_hosts
from tricorn_testing.certificates import Certificates
from tricorn_testing.scripted_http import Exchange, Server, serving

DOCUMENT = b'{"schemaVersion": 2}'
DIGEST = Digest.of(DOCUMENT)
MANIFEST = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": str(DIGEST)}
AUTH = RegistryAuth("user", "pa55-secret")
BASIC = "Basic " + base64.b64encode(b"user:pa55-secret").decode()
ClientMaker = Callable[..., AbstractAsyncContextManager[RegistryClient]]


class Guarded:
    """A registry that wants a bearer token, and its token server, in one."""

    def __init__(self) -> None:
        self.realm = ""
        self.challenge = 'Bearer realm="{realm}",service="svc",scope="repository:team/app:pull"'
        self.good = "token-1"
        self.issue: Callable[[Exchange], Awaitable[None]] = self._issue
        self.life: Any = 300
        self.issued = 0

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.path == "/token":
            self.issued += 1
            await self.issue(exchange)
        elif exchange.headers.get("authorization") == f"Bearer {self.good}":
            await exchange.answer(200, MANIFEST, DOCUMENT)
        else:
            await exchange.answer(401, {"WWW-Authenticate": self.challenge.format(realm=self.realm)})

    async def _issue(self, exchange: Exchange) -> None:
        await exchange.json(200, {"token": self.good, "expires_in": self.life})


def reference(server: Server) -> Reference:
    return Reference.parse(f"{server.address}/team/app:1")


async def resolve(client: RegistryClient, server: Server, auth: RegistryAuth | None = None) -> Descriptor:
    return await client.resolve(reference(server), auth=auth)


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


async def test_an_anonymous_token(client: ClientMaker, guarded: Guarded) -> None:
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token?keep=1"
        assert (await resolve(c, server)).digest == DIGEST
    token = server.seen[1]
    assert token.query == {"keep": ["1"], "service": ["svc"], "scope": ["repository:team/app:pull"]}
    assert "authorization" not in token.headers


async def test_credentials_go_to_the_realm_and_the_token_to_the_registry(
    client: ClientMaker, guarded: Guarded
) -> None:
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        await resolve(c, server, AUTH)
    sent = [(each.path, each.headers.get("authorization")) for each in server.seen]
    path = "/v2/team/app/manifests/1"
    assert sent == [(path, None), ("/token", BASIC), (path, "Bearer token-1")]


async def test_tokens_are_kept_for_each_credential(client: ClientMaker, guarded: Guarded) -> None:
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        for auth in (None, None, AUTH, AUTH, None):
            await resolve(c, server, auth)
        assert guarded.issued == 2
        assert c.statistics()["tokens"] == 2


async def test_an_expired_token_is_renewed(client: ClientMaker, guarded: Guarded) -> None:
    guarded.life = 0.1
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        await resolve(c, server)
        await trio.sleep(0.15)
        await resolve(c, server)
    assert guarded.issued == 2


async def test_a_revoked_token_is_renewed(client: ClientMaker, guarded: Guarded) -> None:
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        await resolve(c, server)
        guarded.good = "token-2"
        await resolve(c, server)
    assert guarded.issued == 2


async def test_one_refresh_at_a_time(client: ClientMaker, guarded: Guarded) -> None:
    async def slow(exchange: Exchange) -> None:
        await trio.sleep(0.05)
        await exchange.json(200, {"token": guarded.good})

    guarded.issue = slow
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(resolve, c, server)
    assert guarded.issued == 1


async def test_a_registry_that_is_never_content(client: ClientMaker, guarded: Guarded) -> None:
    async def useless(exchange: Exchange) -> None:
        await exchange.json(200, {"access_token": "not-good-enough"})

    guarded.issue = useless
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        with pytest.raises(Unauthenticated):
            await resolve(c, server, AUTH)
    assert len(server.seen) == 3


async def test_basic(client: ClientMaker) -> None:
    async def registry(exchange: Exchange) -> None:
        if exchange.headers.get("authorization") == BASIC:
            await exchange.answer(200, MANIFEST, DOCUMENT)
        else:
            await exchange.answer(401, {"WWW-Authenticate": 'Basic realm="x"'})

    async with serving(registry) as server, client() as c:
        await resolve(c, server, AUTH)
        await resolve(c, server, AUTH)
        assert len(server.seen) == 3  # the second call knows
        with pytest.raises(Unauthenticated) as caught:
            await resolve(c, server)
        assert "credentials" in caught.value.hint
        with pytest.raises(Unauthenticated):
            await resolve(c, server, RegistryAuth("user", "wrong"))
        with pytest.raises(InvalidArgument):
            await resolve(c, server, RegistryAuth("us:er", "x"))


async def test_configured_credentials(client: ClientMaker, guarded: Guarded) -> None:
    asked: list[str] = []

    class Book(CredentialBook):
        async def find(self, host: str) -> RegistryAuth | None:
            asked.append(host)
            return AUTH

    async with serving(guarded) as server, client(credentials=Book(CredentialSettings())) as c:
        guarded.realm = f"{server.url}/token"
        await resolve(c, server)
        await resolve(c, server)
        assert asked == [server.address]
    assert server.seen[1].headers["authorization"] == BASIC


# ---------------------------------------------------------------- identity tokens
IDENTITY = RegistryAuth(identity_token="identity-secret")


async def test_an_identity_token_goes_by_post(client: ClientMaker, guarded: Guarded) -> None:
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        await resolve(c, server, IDENTITY)
    token = server.seen[1]
    assert token.method == "POST"
    form = parse_qs(token.body.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["identity-secret"]
    assert form["scope"] == ["repository:team/app:pull"]
    assert "identity-secret" not in token.target


@pytest.mark.parametrize("status", [404, 405])
async def test_a_server_without_post_gets_the_password(
    client: ClientMaker, guarded: Guarded, status: int
) -> None:
    async def get_only(exchange: Exchange) -> None:
        if exchange.method == "POST":
            await exchange.answer(status)
        else:
            await exchange.json(200, {"token": guarded.good})

    guarded.issue = get_only
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        await resolve(c, server, RegistryAuth("user", "pa55-secret", "identity-secret"))
        assert server.seen[2].headers["authorization"] == BASIC
        with pytest.raises(Unauthenticated, match="identity"):
            await resolve(c, server, IDENTITY)


# ---------------------------------------------------------------- hostile
@pytest.mark.parametrize(
    ("registry", "realm", "allowed"),
    [
        ("reg.example", "https://auth.example/token", True),
        ("reg.example", "https://reg.example/token", True),
        ("reg.example", "http://reg.example/token", False),
        ("reg.example", "http://127.0.0.1/token", False),
        ("127.0.0.1:5000", "http://127.0.0.1:5001/token", True),
        ("127.0.0.1:5000", "http://127.0.0.2:5000/token", False),
        ("127.0.0.1:5000", "http://169.254.169.254/latest/meta-data", False),
        ("127.0.0.1:5000", "https://auth.example/token", True),
        ("reg.example", "ftp://auth.example/", False),
        ("reg.example", "https://user:pw@auth.example/", False),
        ("reg.example", "/token", False),
        ("reg.example", "", False),
        ("reg.example", "https://a.example/\r\nX: y", False),
    ],
)
def test_which_realms_are_asked(registry: str, realm: str, allowed: bool) -> None:
    host = plan_hosts(registry).hosts[0]
    if allowed:
        assert str(checked_realm(host, realm)) == realm
    else:
        with pytest.raises(PermissionDenied):
            checked_realm(host, realm)


async def test_a_hijacked_realm_gets_nothing(client: ClientMaker, guarded: Guarded) -> None:
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"http://localhost:{server.port}/token"  # another name, and no TLS
        with pytest.raises(PermissionDenied):
            await resolve(c, server, AUTH)
        assert guarded.issued == 0


async def test_a_realm_that_redirects_takes_no_credentials_along(
    client: ClientMaker, guarded: Guarded
) -> None:
    async with serving(guarded) as server, serving(guarded) as thief, client() as c:

        async def redirect(exchange: Exchange) -> None:
            if exchange.headers["host"] == server.address:
                await exchange.answer(307, {"Location": f"{thief.url}/token"})
            else:
                await exchange.answer(401)

        guarded.issue, guarded.realm = redirect, f"{server.url}/token"
        with pytest.raises(Unauthenticated):
            await resolve(c, server, AUTH)
    assert [each.headers.get("authorization") for each in thief.seen] == [None]


async def test_storage_that_challenges_after_a_redirect_gets_no_answer(client: ClientMaker) -> None:
    async def storage(exchange: Exchange) -> None:
        await exchange.answer(401, {"WWW-Authenticate": 'Basic realm="give it to me"'})

    async with serving(storage) as thief, client() as c:

        async def registry(exchange: Exchange) -> None:
            await exchange.answer(307, {"Location": f"{thief.url}/x"})

        async with serving(registry) as server:
            with pytest.raises(Unauthenticated):
                await resolve(c, server, AUTH)
    assert all("authorization" not in each.headers for each in thief.seen)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"token": 5}', b'{"token": ""}', b'{"token": "a b"}', b'{"token": "a\\r\\nX: y"}',
     b'{"token": "\\u00e9"}', b'{"token": "' + b"x" * 300_000 + b'"}'],
)  # fmt: skip
async def test_nonsense_of_a_token_server(client: ClientMaker, guarded: Guarded, body: bytes) -> None:
    async def nonsense(exchange: Exchange) -> None:
        await exchange.answer(200, {}, body)

    guarded.issue = nonsense
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        with pytest.raises(Unauthenticated):
            await resolve(c, server)


@pytest.mark.parametrize("life", [None, "x", -5, 0, True, 1e400, 10**400, float("nan"), [1]])
async def test_odd_lifetimes(client: ClientMaker, guarded: Guarded, life: Any) -> None:
    guarded.life = life
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        await resolve(c, server)
        await resolve(c, server)
    assert guarded.issued == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, Unauthenticated), (403, PermissionDenied), (400, Unauthenticated), (503, Unavailable)],
)
async def test_a_token_server_that_refuses(
    client: ClientMaker, guarded: Guarded, status: int, error: type[TricornError]
) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.json(status, {"errors": [{"code": "DENIED", "message": "go away"}]})

    guarded.issue = refuse
    async with serving(guarded) as server, client() as c:
        guarded.realm = f"{server.url}/token"
        with pytest.raises(error, match="go away"):
            await resolve(c, server, AUTH)


async def test_secrets_are_in_no_log_error_or_repr(client: ClientMaker, guarded: Guarded) -> None:
    secrets = ("pa55-secret", BASIC, "identity-secret", "token-1")
    everything = RegistryAuth("user", "pa55-secret", "identity-secret")
    with structlog.testing.capture_logs() as logs:
        async with serving(guarded) as server, client() as c:
            guarded.realm = f"{server.url}/token?sig=query-secret"
            await resolve(c, server, everything)
            shown = [repr(c), repr(vars(c._authorizer)), repr(vars(c)), repr(everything)]
            guarded.challenge = "Negotiate"
            guarded.good = "other"
            with pytest.raises(Unauthenticated) as caught:
                await resolve(c, server, everything)
    text = json.dumps(logs, default=repr) + repr(caught.value.problem()) + "".join(shown)
    assert "/token" in text
    for secret in (*secrets, "query-secret"):
        assert secret not in text


async def test_skip_verify_of_a_registry_does_not_cover_a_foreign_realm(
    client: ClientMaker, certificates: Certificates, guarded: Guarded, hosts_toml: Callable[[str, str], str]
) -> None:
    context = certificates.server_context()
    async with serving(guarded, context) as server, serving(guarded, context) as other:
        hosts_dir = hosts_toml(server.address, f'server = "{server.url}"\nskip_verify = true\n')
        async with client(hosts_dir) as c:
            guarded.realm = f"https://localhost:{other.port}/token"
            with pytest.raises(TricornError, match="can't be trusted"):
                await resolve(c, server, AUTH)
            guarded.realm = f"{server.url}/token"
            await resolve(c, server, AUTH)
    assert not other.seen
