"""What refers to a manifest, asked of registries with the referrers API, without it, and with habits."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tricorn import limits
from tricorn.errors import DataLoss, FailedPrecondition, PermissionDenied, ResourceExhausted
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_INDEX, OCI_MANIFEST, Descriptor
from tricorn.model.reference import Reference
from tricorn.registry.client import RegistryClient
from tricorn_testing.scripted_http import Exchange, Handler, Server, serving

ClientMaker = Callable[..., AbstractAsyncContextManager[RegistryClient]]
SUBJECT = Digest.of(b"subject")
ONE, TWO = (
    Descriptor(
        OCI_MANIFEST, Digest.of(name), 3, artifact_type=f"application/{name.decode()}", annotations={"n": "1"}
    )
    for name in (b"one", b"two")
)
INDEX = {"Content-Type": OCI_INDEX}


def listed(*descriptors: Descriptor) -> bytes:
    entries = [
        {"mediaType": each.media_type, "digest": each.digest, "size": each.size,
         "artifactType": each.artifact_type, "annotations": dict(each.annotations)}
        for each in descriptors
    ]  # fmt: skip
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


async def ask(
    client: ClientMaker, handler: Handler, artifact_type: str = ""
) -> tuple[list[Descriptor], Server]:
    async with serving(handler) as server, client() as registry:
        reference = Reference.parse(f"{server.address}/a/b:1")
        return await registry.referrers(reference, SUBJECT, artifact_type, plain_http=True), server


async def test_the_api_page_by_page(client: ClientMaker) -> None:
    async def handler(exchange: Exchange) -> None:
        if "page" in exchange.query:
            await exchange.answer(200, INDEX, listed(TWO))
        else:
            link = {"Link": f'</v2/a/b/referrers/{SUBJECT}?page=2>; rel="next"'}
            await exchange.answer(200, {**INDEX, **link}, listed(ONE))

    found, server = await ask(client, handler)
    assert {each.digest: each for each in found} == {ONE.digest: ONE, TWO.digest: TWO}
    assert server.lines()[0] == f"GET /v2/a/b/referrers/{SUBJECT}"


async def test_a_type_is_asked_for_and_checked(client: ClientMaker) -> None:
    async def handler(exchange: Exchange) -> None:  # one that doesn't filter
        await exchange.answer(200, INDEX, listed(ONE, TWO))

    found, server = await ask(client, handler, TWO.artifact_type)
    assert found == [TWO]
    assert server.seen[0].query == {"artifactType": [TWO.artifact_type]}


async def test_without_the_api_there_is_a_tag(client: ClientMaker) -> None:
    async def handler(exchange: Exchange) -> None:
        if exchange.path == f"/v2/a/b/manifests/sha256-{SUBJECT.hex}":
            await exchange.answer(200, INDEX, listed(ONE))
        else:
            await exchange.answer(404)

    assert (await ask(client, handler))[0] == [ONE]


async def test_nothing_refers_to_it(client: ClientMaker) -> None:
    async def handler(exchange: Exchange) -> None:
        if "/referrers/" in exchange.path:
            await exchange.answer(200, INDEX, listed())
        else:
            await exchange.answer(404)

    assert (await ask(client, handler))[0] == []


def answers(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Handler:
    async def handler(exchange: Exchange) -> None:
        await exchange.answer(status, headers or INDEX, body)

    return handler


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (answers(403), PermissionDenied),
        (answers(200, body=b"{"), DataLoss),
        (answers(200, body=b'{"manifests": [{"digest": "x"}]}'), DataLoss),
        (
            answers(200, {**INDEX, "Link": '<http://127.0.0.1:1/x>; rel="next"'}, listed(ONE)),
            FailedPrecondition,
        ),
        (answers(200, {**INDEX, "Link": '</again>; rel="next"'}, listed(ONE)), ResourceExhausted),
    ],
    ids=["forbidden", "no-json", "no-digest", "elsewhere", "endless"],
)
async def test_registries_that_misbehave(
    client: ClientMaker, handler: Handler, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REFERRERS_PAGES", 5)
    with pytest.raises(error):
        await ask(client, handler)


class Tagged:
    """A registry without the API, which keeps what is put."""

    def __init__(self) -> None:
        self.manifests: dict[str, bytes] = {}

    async def __call__(self, exchange: Exchange) -> None:
        name = exchange.path.rpartition("/")[2]
        if exchange.method == "PUT":
            assert exchange.headers["content-type"] == OCI_INDEX
            self.manifests[name] = exchange.body
            await exchange.answer(201)
        elif "/manifests/" in exchange.path and name in self.manifests:
            await exchange.answer(200, INDEX, self.manifests[name])
        else:
            await exchange.answer(404)


async def test_the_list_under_the_tag_grows(client: ClientMaker) -> None:
    store = Tagged()
    async with serving(store) as server, client() as registry:
        reference = Reference.parse(f"{server.address}/a/b:1")
        said = [await registry.refer(reference, SUBJECT, each, plain_http=True) for each in (ONE, ONE, TWO)]
        found = await registry.referrers(reference, SUBJECT, plain_http=True)
    assert said == [True, False, True]
    assert {each.digest for each in found} == {ONE.digest, TWO.digest}
    raw: dict[str, Any] = json.loads(store.manifests[f"sha256-{SUBJECT.hex}"])
    assert raw["manifests"][0]["artifactType"] == ONE.artifact_type


async def test_registries_with_the_api_need_no_list(client: ClientMaker) -> None:
    async with serving(answers(200, body=listed())) as server, client() as registry:
        reference = Reference.parse(f"{server.address}/a/b:1")
        assert await registry.refer(reference, SUBJECT, ONE, plain_http=True) is False
        assert [line.partition(" ")[0] for line in server.lines()] == ["GET"]
