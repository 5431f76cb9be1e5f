"""What a reference names, and whom to ask for it: mirrors, fall-through, digests that lie."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tricorn import limits
from tricorn.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TricornError,
    Unavailable,
)
from tricorn.model.ids import Digest
from tricorn.model.oci import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tricorn.model.reference import Reference
from tricorn.model.requests import RegistryAuth
from tricorn.registry.client import RegistryClient
from tricorn_testing.scripted_http import Exchange, Handler, Server, serving

DOCUMENT = b'{"schemaVersion": 2}'
DIGEST = Digest.of(DOCUMENT)
OTHER = Digest.of(b"other")
FULL = {"Content-Type": OCI_INDEX, "Docker-Content-Digest": str(DIGEST)}
ClientMaker = Callable[..., AbstractAsyncContextManager[RegistryClient]]
Writer = Callable[[str, str], str]


def answering(
    headers: dict[str, str], status: int = 200, body: bytes = DOCUMENT, head_status: int = 0
) -> Handler:
    async def handler(exchange: Exchange) -> None:
        code = head_status if head_status and exchange.method == "HEAD" else status
        await exchange.answer(code, {**headers, "Content-Length": str(len(body))}, body)

    return handler


def reference(server: Server, suffix: str = ":1") -> Reference:
    return Reference.parse(f"{server.address}/team/app{suffix}")


async def test_one_head_is_enough(client: ClientMaker) -> None:
    async with serving(answering(FULL)) as server, client() as c:
        descriptor = await c.resolve(reference(server))
    assert (descriptor.media_type, descriptor.digest, descriptor.size) == (OCI_INDEX, DIGEST, len(DOCUMENT))
    assert server.lines() == ["HEAD /v2/team/app/manifests/1"]
    accept = server.seen[0].headers["accept"]
    assert all(
        media_type in accept for media_type in (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
    )


async def test_a_digest_is_asked_for_by_digest(client: ClientMaker) -> None:
    async with serving(answering(FULL)) as server, client() as c:
        assert (await c.resolve(reference(server, f":1@{DIGEST}"))).digest == DIGEST
    assert server.lines() == [f"HEAD /v2/team/app/manifests/{DIGEST}"]


@pytest.mark.parametrize("head_status", [0, 400, 405])
async def test_get_where_head_does_not_tell(client: ClientMaker, head_status: int) -> None:
    headers = {"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"}
    async with serving(answering(headers, head_status=head_status)) as server, client() as c:
        descriptor = await c.resolve(reference(server))
    assert (descriptor.media_type, descriptor.digest) == (OCI_MANIFEST, DIGEST)
    assert [each.method for each in server.seen] == ["HEAD", "GET"]


@pytest.mark.parametrize(
    ("headers", "suffix", "error"),
    [
        ({**FULL, "Docker-Content-Digest": str(OTHER)}, f"@{DIGEST}", DataLoss),
        ({**FULL, "Docker-Content-Digest": "sha256:../../x"}, ":1", DataLoss),
        ({"Content-Type": OCI_INDEX}, f"@{OTHER}", DataLoss),
        ({"Docker-Content-Digest": str(DIGEST)}, ":1", FailedPrecondition),
        ({**FULL, "Content-Type": "text/html"}, ":1", FailedPrecondition),
        (
            {**FULL, "Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
            ":1",
            FailedPrecondition,
        ),
    ],
)
async def test_answers_that_lie(
    client: ClientMaker, headers: dict[str, str], suffix: str, error: type[TricornError]
) -> None:
    async with serving(answering(headers)) as server, client() as c:
        with pytest.raises(error):
            await c.resolve(reference(server, suffix))


async def test_a_body_that_is_not_what_its_header_says(client: ClientMaker) -> None:
    headers = {**FULL, "Docker-Content-Digest": str(OTHER)}
    async with serving(answering(headers, head_status=405)) as server, client() as c:
        with pytest.raises(DataLoss, match="damaged"):
            await c.resolve(reference(server))


async def test_a_huge_manifest_is_refused_unread(client: ClientMaker) -> None:
    async def huge(exchange: Exchange) -> None:
        await exchange.raw(
            f"HTTP/1.1 200 OK\r\nContent-Type: {OCI_INDEX}\r\nDocker-Content-Digest: {DIGEST}\r\n"
            f"Content-Length: {limits.MANIFEST_SIZE + 1}\r\n\r\n".encode()
        )

    async with serving(huge) as server, client() as c:
        with pytest.raises(ResourceExhausted):
            await c.resolve(reference(server))


async def test_an_endless_manifest_is_cut(client: ClientMaker) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.raw(f"HTTP/1.1 200 OK\r\nContent-Type: {OCI_INDEX}\r\n\r\n".encode())
        while exchange.method == "GET":
            await exchange.stream.send_all(b" " * 65536)

    async with serving(endless) as server, client() as c:
        with pytest.raises(ResourceExhausted):
            await c.resolve(reference(server))


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (403, PermissionDenied), (400, FailedPrecondition)]
)
async def test_refusals(client: ClientMaker, status: int, error: type[TricornError]) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.json(status, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "gone"}]})

    async with serving(refuse) as server, client() as c:
        with pytest.raises(error) as caught:
            await c.resolve(reference(server))
    assert "team/app:1" in caught.value.what
    assert server.url in caught.value.why


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_passing_troubles_pass(client: ClientMaker, status: int) -> None:
    async def troubled(exchange: Exchange) -> None:
        if len(server.seen) < 3:
            await exchange.answer(status, {"Retry-After": "0"})
        else:
            await answering(FULL)(exchange)

    async with serving(troubled) as server, client() as c:
        assert (await c.resolve(reference(server))).digest == DIGEST
        assert c.statistics()["retries"] == 2


async def test_troubles_that_stay_end_the_call(client: ClientMaker) -> None:
    async with serving(answering({}, status=503)) as server, client() as c:
        with pytest.raises(Unavailable, match="503"):
            await c.resolve(reference(server))
    assert len(server.seen) == 3


# ---------------------------------------------------------------- mirrors
def mirrored(upstream: str, *mirrors: str, more: str = "") -> str:
    return f'server = "{upstream}"\n' + "".join(f'[host."{mirror}"]\n{more}\n' for mirror in mirrors)


async def test_the_first_mirror_that_knows_answers(client: ClientMaker, hosts_toml: Writer) -> None:
    async with (
        serving(answering({}, status=404)) as one,
        serving(answering(FULL)) as two,
        serving(answering(FULL)) as up,
    ):
        hosts_dir = hosts_toml("reg.example", mirrored(up.url, "http://127.0.0.1:1", one.url, two.url))
        async with client(hosts_dir) as c:
            assert (await c.resolve(Reference.parse("reg.example/team/app:1"))).digest == DIGEST
    assert one.lines() == ["HEAD /v2/team/app/manifests/1?ns=reg.example"]
    assert len(two.seen) == 1
    assert not up.seen


async def test_a_mirror_that_lies_is_passed_over(client: ClientMaker, hosts_toml: Writer) -> None:
    lying = {**FULL, "Docker-Content-Digest": str(OTHER)}
    async with serving(answering(lying)) as mirror, serving(answering(FULL)) as up:
        hosts_dir = hosts_toml("reg.example", mirrored(up.url, mirror.url))
        async with client(hosts_dir) as c:
            assert (await c.resolve(Reference.parse(f"reg.example/a@{DIGEST}"))).digest == DIGEST


async def test_the_last_error_counts_and_all_are_named(client: ClientMaker, hosts_toml: Writer) -> None:
    async with serving(answering({}, status=403)) as mirror, serving(answering({}, status=404)) as up:
        hosts_dir = hosts_toml("reg.example", mirrored(up.url, mirror.url))
        async with client(hosts_dir) as c:
            with pytest.raises(NotFound) as caught:
                await c.resolve(Reference.parse("reg.example/team/app:1"))
    assert f"{mirror.url}/v2: registry answers 403" in caught.value.why
    assert f"{up.url}/v2: registry answers 404" in caught.value.why


async def test_what_the_registry_itself_denies_no_broken_mirror_knows(
    client: ClientMaker, hosts_toml: Writer
) -> None:
    async with serving(answering({}, status=404)) as up, serving(answering({}, status=503)) as mirror:
        hosts_dir = hosts_toml("reg.example", mirrored(up.url, mirror.url, "http://127.0.0.1:1"))
        async with client(hosts_dir) as c:
            with pytest.raises(NotFound) as caught:
                await c.resolve(Reference.parse("reg.example/team/app:1"))
    assert (len(mirror.seen), len(up.seen)) == (1, 1)
    assert mirror.url in caught.value.why
    assert "check the name" in caught.value.hint


async def test_a_mirror_that_knows_nothing_and_a_registry_in_trouble(
    client: ClientMaker, hosts_toml: Writer
) -> None:
    async with (
        serving(answering({}, status=503)) as up,
        serving(answering({}, status=404)) as mirror,
        client(hosts_toml("reg.example", mirrored(up.url, mirror.url))) as c,
    ):
        with pytest.raises(Unavailable) as caught:
            await c.resolve(Reference.parse("reg.example/team/app:1"))
    assert (len(mirror.seen), len(up.seen)) == (1, 3)
    assert "hosts.toml" in caught.value.hint


async def test_hosts_that_only_pull_are_not_asked_to_resolve(client: ClientMaker, hosts_toml: Writer) -> None:
    async with serving(answering(FULL)) as mirror, serving(answering(FULL)) as up:
        hosts_dir = hosts_toml("reg.example", mirrored(up.url, mirror.url, more='capabilities = ["pull"]'))
        async with client(hosts_dir) as c:
            await c.resolve(Reference.parse("reg.example/a:1"))
    assert not mirror.seen


async def test_no_able_host(client: ClientMaker, hosts_toml: Writer) -> None:
    text = 'server = "http://127.0.0.1:1"\ncapabilities = ["push"]\n'
    async with client(hosts_toml("reg.example", text)) as c:
        with pytest.raises(FailedPrecondition, match="capability"):
            await c.resolve(Reference.parse("reg.example/a:1"))


async def test_a_requests_credentials_are_not_for_mirrors(client: ClientMaker, hosts_toml: Writer) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    async with serving(answering(challenge, status=401)) as mirror, serving(answering(FULL)) as up:
        hosts_dir = hosts_toml("reg.example", mirrored(up.url, mirror.url))
        async with client(hosts_dir) as c:
            await c.resolve(Reference.parse("reg.example/a:1"), auth=RegistryAuth("user", "pw"))
    assert all("authorization" not in each.headers for each in mirror.seen)
    assert len(up.seen) == 1


async def test_configured_headers_and_paths(client: ClientMaker, hosts_toml: Writer) -> None:
    async with serving(answering(FULL)) as mirror:
        text = (
            f'[host."{mirror.url}/cache/proxy"]\noverride_path = true\n'
            f'[host."{mirror.url}/cache/proxy".header]\nX-Key = ["a", "b"]\nauthorization = "Basic Y29uZg=="\n'
        )
        async with client(hosts_toml("reg.example", text)) as c:
            await c.resolve(Reference.parse("reg.example/team/app:1"))
    (seen,) = mirror.seen
    assert seen.path == "/cache/proxy/team/app/manifests/1"
    assert seen.headers["authorization"] == "Basic Y29uZg=="
    assert seen.headers["x-key"] in {"a", "b"}


async def test_a_name_that_resolves_to_loopback_is_asked_by_tls(client: ClientMaker) -> None:
    """`ip6-localhost` and `localhost.localdomain` may resolve to loopback; only the literals are plain."""
    async with serving(answering(FULL)) as server, client() as c:
        with pytest.raises(TricornError):
            await c.resolve(Reference.parse(f"localhost.localdomain:{server.port}/a:1"))
    assert not server.seen


async def test_a_bad_hosts_file_ends_the_call(client: ClientMaker, hosts_toml: Writer) -> None:
    async with client(hosts_toml("reg.example", "nonsense = 1")) as c:
        with pytest.raises(InvalidArgument, match="nonsense"):
            await c.resolve(Reference.parse("reg.example/a:1"))
