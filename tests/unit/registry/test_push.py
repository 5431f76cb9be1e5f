"""Uploads to registries with habits: pieces only, elsewhere, forgetful, strict about tokens."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
from attrs import Factory, define

from tricorn import limits
from tricorn.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_LAYER, OCI_MANIFEST, Descriptor
from tricorn.model.reference import Reference
from tricorn.model.requests import HeaderAuth, RegistryAuth
from tricorn.ports import RegistryWay
from tricorn.registry.auth import merged_scope
from tricorn.registry.client import RegistryClient
from tricorn_testing.scripted_http import Exchange, Handler, Server, serving

BLOB = bytes(range(256)) * 5000
LAYER = Descriptor(OCI_LAYER, Digest.of(BLOB), len(BLOB))
AUTH = RegistryAuth("user", "pa55-secret")
ClientMaker = Callable[..., AbstractAsyncContextManager[RegistryClient]]
Writer = Callable[[str, str], str]


@define
class Store:
    """A registry's uploads, well behaved; a test bends what it needs in `bend` (True: answered)."""

    sessions: dict[str, bytes] = Factory(dict)
    blobs: dict[str, bytes] = Factory(dict)
    count: int = 0
    base: str = ""  # where uploads go; empty: relative

    async def bend(self, exchange: Exchange) -> bool:
        return False

    async def __call__(self, exchange: Exchange) -> None:
        if await self.bend(exchange):
            return
        session = exchange.path.rpartition("/")[2]
        if exchange.method == "HEAD":
            await exchange.answer(200 if session in self.blobs else 404)
        elif exchange.method == "POST":
            self.count += 1
            self.sessions[f"s{self.count}"] = b""
            await self._accepted(exchange, f"s{self.count}")
        elif session not in self.sessions:
            await exchange.json(404, {"errors": [{"code": "BLOB_UPLOAD_UNKNOWN", "message": "who?"}]})
        elif exchange.method == "GET":
            await self._accepted(exchange, session, 204)
        elif exchange.method == "PATCH":
            start = len(self.sessions[session])
            assert exchange.headers.get("content-range", f"{start}-").startswith(f"{start}-")
            self.sessions[session] += exchange.body
            await self._accepted(exchange, session)
        else:
            await self._complete(exchange, self.sessions.pop(session) + exchange.body)

    async def _accepted(self, exchange: Exchange, session: str, status: int = 202) -> None:
        have = len(self.sessions[session])
        location = f"{self.base}/v2/team/app/blobs/uploads/{session}?state=x"
        await exchange.answer(status, {"Location": location, "Range": f"0-{max(0, have - 1)}"})

    async def _complete(self, exchange: Exchange, data: bytes) -> None:
        digest = exchange.query["digest"][0]
        if digest != "sha256:" + hashlib.sha256(data).hexdigest():
            await exchange.json(400, {"errors": [{"code": "DIGEST_INVALID", "message": "other bytes"}]})
            return
        self.blobs[digest] = data
        await exchange.answer(201, {"Docker-Content-Digest": digest})


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "blob").write_bytes(BLOB)
    return str(tmp_path / "blob")


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REGISTRY_PIECE", 500_000)
    monkeypatch.setattr(limits, "REGISTRY_WHOLE", 500_000)


async def pushed(
    client: ClientMaker, handler: Handler, path: str, *, auth: object = None, way: RegistryWay | None = None
) -> Server:
    async with serving(handler) as server, client() as c:
        with trio.fail_after(60):
            reference = Reference.parse(f"{server.address}/team/app:1")
            to = await c.push(reference, auth=auth, way=way or RegistryWay())
            assert await to.blob(LAYER, path) == "pushed"
        assert c.statistics()["connections_busy"] == 0
    return server


async def test_one_request_for_the_bytes(client: ClientMaker, path: str) -> None:
    store = Store()
    server = await pushed(client, store, path)
    assert [line.split("?")[0] for line in server.lines()] == [
        f"HEAD /v2/team/app/blobs/{LAYER.digest}",
        "POST /v2/team/app/blobs/uploads/",
        "PUT /v2/team/app/blobs/uploads/s1",
    ]
    assert server.seen[1].headers["content-length"] == "0"
    assert server.seen[2].query == {"state": ["x"], "digest": [str(LAYER.digest)]}
    assert store.blobs[LAYER.digest] == BLOB


async def test_a_proxy_that_takes_small_bodies_only(
    client: ClientMaker, path: str, small_pieces: None
) -> None:
    class Small(Store):
        async def bend(self, exchange: Exchange) -> bool:
            if len(exchange.body) > 600_000:
                await exchange.answer(413)
                return True
            return False

    store = Small()
    server = await pushed(client, store, path)
    assert ranges(server) == ["", "0-499999", "500000-999999", f"1000000-{len(BLOB) - 1}"]
    assert store.blobs[LAYER.digest] == BLOB


def ranges(server: Server) -> list[str]:
    return [each.headers.get("content-range", "") for each in server.seen if each.method == "PATCH"]


async def test_a_large_blob_goes_in_one_request_that_can_be_resumed(
    client: ClientMaker, path: str, small_pieces: None
) -> None:
    store = Store()
    server = await pushed(client, store, path)
    assert [each.method for each in server.seen] == ["HEAD", "POST", "PATCH", "PUT"]
    assert ranges(server) == [""]
    assert server.seen[-1].body == b""
    assert store.blobs[LAYER.digest] == BLOB


async def test_a_minimum_for_pieces(client: ClientMaker, path: str, small_pieces: None) -> None:
    class Large(Store):
        async def bend(self, exchange: Exchange) -> bool:
            if len(exchange.body) > 1_000_000:
                await exchange.answer(413)
                return True
            if exchange.method == "POST":
                self.sessions["only"] = b""
                location = "/v2/team/app/blobs/uploads/only"
                await exchange.answer(202, {"Location": location, "OCI-Chunk-Min-Length": "900000"})
                return True
            return False

    server = await pushed(client, Large(), path)
    assert ranges(server) == ["", "0-899999", f"900000-{len(BLOB) - 1}"]


async def test_a_server_error_is_tried_again_from_what_is_there(
    client: ClientMaker, path: str, small_pieces: None
) -> None:
    class Shaky(Store):
        failures: int = 0

        async def bend(self, exchange: Exchange) -> bool:
            if exchange.method == "PATCH" and not self.sessions["s1"]:
                self.sessions["s1"] = exchange.body[:700_000]
                await exchange.answer(502)
                return True
            return False

    store = Shaky()
    server = await pushed(client, store, path)
    assert ranges(server) == ["", f"700000-{len(BLOB) - 1}"]
    assert store.blobs[LAYER.digest] == BLOB


async def test_a_resumed_upload_that_comes_out_wrong_is_begun_anew(client: ClientMaker, path: str) -> None:
    """The registry was still writing what the broken request had sent when it was asked."""

    class Late(Store):
        async def bend(self, exchange: Exchange) -> bool:
            if exchange.method == "PUT" and exchange.body and "s1" in self.sessions and self.count == 1:
                self.sessions["s1"] = exchange.body[:700_000]
                await exchange.answer(502)
                return True
            if exchange.method == "PATCH" and self.count == 1:
                self.sessions["s1"] += b"late" + exchange.body
                await self._accepted(exchange, "s1")
                return True
            return False

    store = Late()
    server = await pushed(client, store, path)
    assert [each.method for each in server.seen] == [
        "HEAD", "POST", "PUT", "GET", "PATCH", "PUT", "POST", "PUT",
    ]  # fmt: skip
    assert store.blobs[LAYER.digest] == BLOB


async def test_bytes_that_are_refused_at_once_are_wrong(client: ClientMaker, path: str) -> None:
    async with serving(Store()) as server, client() as c:
        to = await c.push(Reference.parse(f"{server.address}/team/app:1"))
        wrong = Descriptor(OCI_LAYER, Digest.of(b"something else"), len(BLOB))
        with pytest.raises(FailedPrecondition, match="DIGEST_INVALID"):
            await to.blob(wrong, path)
        assert [each.method for each in server.seen] == ["HEAD", "POST", "PUT"]


async def test_a_forgotten_session_is_begun_anew(client: ClientMaker, path: str) -> None:
    class Forgetful(Store):
        async def bend(self, exchange: Exchange) -> bool:
            if exchange.method == "PUT" and "s1" in self.sessions:
                self.sessions.clear()
                await exchange.answer(503)
                return True
            return False

    server = await pushed(client, Forgetful(), path)
    assert [each.method for each in server.seen] == ["HEAD", "POST", "PUT", "GET", "POST", "PUT"]


async def test_uploads_elsewhere_get_no_credentials(client: ClientMaker, path: str) -> None:
    """A registry may send uploads to its storage; what it is told stays with it."""
    store = Store()
    async with serving(store) as storage:
        front = Store(store.sessions, base=storage.url)

        async def guarded(exchange: Exchange) -> None:
            if "authorization" not in exchange.headers:
                await exchange.answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
            else:
                await front(exchange)

        way = RegistryWay(headers=(("X-Team", "secret"),))
        server = await pushed(client, guarded, path, auth=AUTH, way=way)
        assert all(each.headers["x-team"] == "secret" for each in server.seen)
        assert [each.method for each in storage.seen] == ["PUT"]
        assert "authorization" not in storage.seen[0].headers
        assert "x-team" not in storage.seen[0].headers


async def test_no_upload_leaves_tls(
    client: ClientMaker, path: str, server_tls: ssl.SSLContext, hosts_toml: Writer, certificates: object
) -> None:
    store = Store(base="http://127.0.0.1:1")
    async with serving(store, server_tls) as server:
        text = f'server = "{server.url}"\nca = "{certificates.ca}"\n'  # type: ignore[attr-defined]
        async with client(hosts_toml(server.address, text)) as c:
            to = await c.push(Reference.parse(f"{server.address}/team/app:1"))
            with pytest.raises(FailedPrecondition, match="plain HTTP"):
                await to.blob(LAYER, path)


async def test_a_token_refused_in_the_middle(client: ClientMaker, path: str) -> None:
    """The body goes once more, with the new token."""

    class Strict(Store):
        good: str = "t0"
        asked: list[list[str]] = []  # noqa: RUF012 - one test's own class

        async def bend(self, exchange: Exchange) -> bool:
            if exchange.path == "/token":
                self.asked.append(exchange.query["scope"])
                self.good = f"t{len(self.asked)}"
                await exchange.json(200, {"token": self.good})
                return True
            if exchange.method == "PUT" and self.good == "t1":
                self.good = "expired"
            if exchange.headers.get("authorization") != f"Bearer {self.good}":
                realm = f"http://{exchange.headers['host']}/token"
                scope = "repository:team/app:pull"
                await exchange.answer(401, {"WWW-Authenticate": f'Bearer realm="{realm}",scope="{scope}"'})
                return True
            return False

    store = Strict()
    await pushed(client, store, path)
    assert store.blobs[LAYER.digest] == BLOB
    assert store.asked == [["repository:team/app:pull,push"]] * 2


async def test_a_ready_header(client: ClientMaker, path: str) -> None:
    store = Store()

    async def guarded(exchange: Exchange) -> None:
        if exchange.headers.get("authorization") != "Bearer given":
            await exchange.answer(401, {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/never"'})
        else:
            await store(exchange)

    await pushed(client, guarded, path, auth=HeaderAuth(header="Bearer given"))


async def test_a_source_of_credentials_is_asked_once(client: ClientMaker, path: str) -> None:
    store = Store()

    @define
    class Source:
        answers: dict[str, RegistryAuth | None] = Factory(dict)
        asked: list[tuple[str, tuple[str, ...]]] = Factory(list)

        def known(self, host: str) -> RegistryAuth | None:
            return self.answers.get(host)

        async def ask(self, host: str, challenges: tuple[str, ...]) -> RegistryAuth | None:
            self.asked.append((host, tuple(challenges)))
            self.answers[host] = AUTH
            return AUTH

    async def guarded(exchange: Exchange) -> None:
        if "authorization" not in exchange.headers:
            await exchange.answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
        else:
            await store(exchange)

    source = Source()
    server = await pushed(client, guarded, path, auth=source)
    assert source.asked == [(server.address, ('Basic realm="x"',))]
    assert [each.method for each in server.seen] == ["HEAD", "HEAD", "POST", "PUT"]


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (403, PermissionDenied, "may not push"),
        (404, NotFound, "created before"),
        (400, FailedPrecondition, "NAME_INVALID"),
        (503, Unavailable, "NAME_INVALID"),
    ],
)
async def test_refusals(
    client: ClientMaker, path: str, status: int, error: type[Exception], words: str
) -> None:
    async def refuse(exchange: Exchange) -> None:
        if exchange.method == "HEAD":
            await exchange.answer(404)
        else:
            await exchange.json(status, {"errors": [{"code": "NAME_INVALID", "message": "bad"}]})

    async with serving(refuse) as server, client() as c:
        to = await c.push(Reference.parse(f"{server.address}/team/app:1"))
        with pytest.raises(error) as caught:
            await to.blob(LAYER, path)
    assert words in caught.value.one_line()  # type: ignore[attr-defined]


async def test_a_server_that_hangs_up_with_an_answer(client: ClientMaker, path: str) -> None:
    """Refusals that come before the body was sent are told, not the broken pipe."""

    async def serve(stream: trio.SocketStream) -> None:
        while b"\r\n\r\n" not in await stream.receive_some(65536):
            pass
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        while b"\r\n\r\n" not in await stream.receive_some(65536):
            pass
        body = b'{"errors":[{"code":"DENIED","message":"quota"}]}'
        await stream.send_all(
            b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        async with client() as c:
            to = await c.push(Reference.parse(f"127.0.0.1:{port}/team/app:1"))
            with pytest.raises(PermissionDenied, match="DENIED: quota"):
                await to.blob(LAYER, path)
        nursery.cancel_scope.cancel()


async def test_a_registry_that_stores_something_else(client: ClientMaker) -> None:
    async def wrong(exchange: Exchange) -> None:
        if exchange.method == "HEAD":
            await exchange.answer(404)
        else:
            await exchange.answer(201, {"Docker-Content-Digest": "sha256:" + "0" * 64})

    document = b'{"schemaVersion": 2}'
    async with serving(wrong) as server, client() as c:
        to = await c.push(Reference.parse(f"{server.address}/team/app:1"))
        with pytest.raises(DataLoss, match="other bytes"):
            await to.manifest(Descriptor(OCI_MANIFEST, Digest.of(document), len(document)), document, "1")


async def test_headers_that_are_not_a_clients(client: ClientMaker) -> None:
    async with client() as c:
        with pytest.raises(InvalidArgument, match="can't be set"):
            await c.push(Reference.parse("127.0.0.1:1/a:1"), way=RegistryWay(headers=(("Host", "x"),)))


def test_scopes_are_merged() -> None:
    assert merged_scope("", "repository:a:pull,push") == "repository:a:pull,push"
    assert merged_scope("repository:a:pull", "repository:a:pull,push") == "repository:a:pull,push"
    assert (
        merged_scope("repository:b:pull", "repository:a:pull,push")
        == "repository:b:pull repository:a:pull,push"
    )
    assert merged_scope("repository:host:5000/a:pull", "repository:host:5000/a:pull") == (
        "repository:host:5000/a:pull"
    )


@pytest.mark.parametrize(
    ("status", "expected"), [(202, True), (404, False), (405, FailedPrecondition), (403, PermissionDenied)]
)
async def test_deletes_where_the_registry_allows_it(
    client: ClientMaker, status: int, expected: bool | type[Exception]
) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(status)

    async with serving(answer) as server, client() as c:
        to = await c.push(Reference.parse(f"{server.address}/team/app"))
        if isinstance(expected, bool):
            assert await to.remove(LAYER.digest, manifest=True) is expected
        else:
            with pytest.raises(expected, match="delete"):
                await to.remove(LAYER.digest)
    kind = "manifests" if isinstance(expected, bool) else "blobs"
    assert server.lines() == [f"DELETE /v2/team/app/{kind}/{LAYER.digest}"]
