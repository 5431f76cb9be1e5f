"""Pushing to Debian's docker-registry: plain, with TLS, a password, a token server, and over bad networks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
from attrs import define

from tricorn.errors import DataLoss, FailedPrecondition, Unauthenticated, Unavailable
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from tricorn.model.reference import Reference
from tricorn.model.requests import RegistryAuth
from tricorn.registry.client import RegistryClient
from tricorn.registry.pacing import Pacing
from tricorn_testing.certificates import Certificates, make_certificates
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import Registry, running_registry
from tricorn_testing.scripted_http import serving
from tricorn_testing.secure_registry import PASSWORD, USER, password_registry, tls_registry, token_registry
from tricorn_testing.token_server import ISSUER, SERVICE, TokenServer

pytestmark = pytest.mark.integration
AUTH = RegistryAuth(USER, PASSWORD)
PACING = Pacing(connect=10.0, stall=10.0, backoff_first=0.01, backoff_max=0.1)


@define
class Picture:
    """A one-layer image's parts, the big one in a file."""

    layer: Descriptor
    path: str
    config: Descriptor
    config_path: str
    manifest: Descriptor
    document: bytes

    @classmethod
    def make(cls, directory: Path, size: int = 3 << 20) -> Picture:
        directory.mkdir(parents=True, exist_ok=True)
        data, config = os.urandom(size), json.dumps({"salt": os.urandom(4).hex()}).encode()
        (directory / "layer").write_bytes(data)
        (directory / "config").write_bytes(config)
        layer = Descriptor(OCI_LAYER, Digest.of(data), size)
        setting = Descriptor(OCI_CONFIG, Digest.of(config), len(config))
        parts = [
            {"mediaType": d.media_type, "digest": str(d.digest), "size": d.size} for d in (setting, layer)
        ]
        document = json.dumps(
            {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": parts[0], "layers": parts[1:]}
        ).encode()
        manifest = Descriptor(OCI_MANIFEST, Digest.of(document), len(document))
        return cls(layer, str(directory / "layer"), setting, str(directory / "config"), manifest, document)

    def overwrite(self, data: bytes) -> None:
        """Let the layer's file hold something else."""
        Path(self.path).write_bytes(data)


@pytest.fixture(scope="module")
def registry_here() -> Iterator[tuple[Registry, Path]]:
    with short_directory() as directory, running_registry(directory) as registry:
        yield registry, directory / "storage"


@pytest.fixture
def registry(registry_here: tuple[Registry, Path]) -> Registry:
    return registry_here[0]


@pytest.fixture
def storage(registry_here: tuple[Registry, Path]) -> Path:
    return registry_here[1]


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    return Picture.make(tmp_path / "picture")


def client(hosts_dir: Path | str = "", **more: object) -> RegistryClient:
    arguments = {
        "environment": {},
        "user_agent": "tricorn/test",
        "random": random.Random(1),
        "pacing": PACING,
        **more,
    }
    return RegistryClient(str(hosts_dir), **arguments)


async def push(
    c: RegistryClient, reference: Reference, picture: Picture, auth: RegistryAuth | None = None
) -> list[str]:
    """Push all parts; return the outcomes of config, layer and manifest."""
    to = await c.push(reference, auth=auth)
    outcomes = [
        await to.blob(picture.config, picture.config_path),
        await to.blob(picture.layer, picture.path),
        await to.manifest(picture.manifest, picture.document, reference.tag),
    ]
    return [str(outcome) for outcome in outcomes]


def check(registry: Registry, name: str, picture: Picture) -> None:
    """The registry has the image, bytes and all."""
    repository = name.partition(":")[0]
    assert registry.digest(name) == picture.manifest.digest
    _, _, data = registry.request("GET", f"/v2/{repository}/blobs/{picture.layer.digest}", expect=200)
    assert "sha256:" + hashlib.sha256(data).hexdigest() == picture.layer.digest


async def test_an_image_and_again(registry: Registry, picture: Picture) -> None:
    reference = Reference.parse(f"{registry.address}/push/plain:1")
    async with client() as c:
        assert await push(c, reference, picture) == ["pushed", "pushed", "pushed"]
        sent = c.statistics()["bytes_uploaded"]
        assert await push(c, reference, picture) == ["exists", "exists", "exists"]
        assert c.statistics()["bytes_uploaded"] == sent
        assert c.statistics()["connections_busy"] == 0
    check(registry, "push/plain:1", picture)


async def test_progress_ends_at_the_size(registry: Registry, picture: Picture) -> None:
    seen: list[int] = []
    async with client() as c:
        to = await c.push(Reference.parse(f"{registry.address}/push/progress:1"))
        await to.blob(picture.layer, picture.path, sent=seen.append)
        await to.blob(picture.layer, picture.path, sent=seen.append)
    assert seen == sorted(seen)
    assert 0 < seen[0] <= 1 << 20  # as it goes, not at the end
    assert seen[-1] == picture.layer.size


async def test_a_tag_moves_and_a_digest_needs_none(
    registry: Registry, picture: Picture, tmp_path: Path
) -> None:
    other = Picture.make(tmp_path / "other", 1000)
    reference = Reference.parse(f"{registry.address}/push/moves:1")
    async with client() as c:
        await push(c, reference, picture)
        assert (await push(c, reference, other))[2] == "pushed"
        by_digest = Reference.parse(f"{registry.address}/push/moves@{picture.manifest.digest}")
        assert (await push(c, by_digest, picture))[2] == "exists"
    assert registry.digest("push/moves:1") == other.manifest.digest


async def test_a_blob_of_another_repository_is_mounted(registry: Registry, picture: Picture) -> None:
    async with client() as c:
        await push(c, Reference.parse(f"{registry.address}/push/source:1"), picture)
        sent = c.statistics()["bytes_uploaded"]
        to = await c.push(Reference.parse(f"{registry.address}/push/mounted:1"))
        assert await to.blob(picture.layer, picture.path, mounts=["push/source"]) == "mounted"
        assert c.statistics()["bytes_uploaded"] == sent
        third = await c.push(Reference.parse(f"{registry.address}/push/elsewhere:1"))
        assert await third.blob(picture.layer, picture.path, mounts=["push/not-there"]) == "pushed"


async def test_a_file_that_is_not_what_it_should_be(registry: Registry, picture: Picture) -> None:
    async with client() as c:
        to = await c.push(Reference.parse(f"{registry.address}/push/damaged:1"))
        picture.overwrite(b"other bytes" + bytes(picture.layer.size - 11))
        with pytest.raises(FailedPrecondition, match="DIGEST_INVALID"):
            await to.blob(picture.layer, picture.path)
        picture.overwrite(b"short")
        with pytest.raises(DataLoss, match="too short"):
            await to.blob(picture.layer, picture.path)


async def test_a_manifest_without_its_blobs(registry: Registry, picture: Picture) -> None:
    async with client() as c:
        to = await c.push(Reference.parse(f"{registry.address}/push/incomplete:1"))
        with pytest.raises(FailedPrecondition, match="BLOB_UNKNOWN"):
            await to.manifest(picture.manifest, picture.document, "1")


async def test_a_password(storage: Path, tmp_path: Path, picture: Picture) -> None:
    with password_registry(tmp_path / "password", storage) as registry:
        reference = Reference.parse(f"{registry.address}/push/password:1")
        async with client() as c:
            with pytest.raises(Unauthenticated):
                await push(c, reference, picture)
            with pytest.raises(Unauthenticated):
                await push(c, reference, picture, RegistryAuth(USER, "wrong"))
            assert await push(c, reference, picture, AUTH) == ["pushed"] * 3


def scopes(issuer: TokenServer) -> list[dict[str, set[str]]]:
    """Return the actions that each token was for, by repository: registries name them in any order."""
    parts = [[scope.split(":") for scope in asked] for asked in issuer.scopes]
    return [{name: set(actions.split(",")) for _, name, actions in token} for token in parts]


async def test_a_token_server(storage: Path, tmp_path: Path, picture: Picture, registry: Registry) -> None:
    issuer = TokenServer(tmp_path / "issuer")
    async with serving(issuer) as tokens, client() as c:
        with token_registry(
            tmp_path / "token", storage, realm=f"{tokens.url}/token",
            certificate=issuer.certificate, issuer=ISSUER, service=SERVICE,
        ) as guarded:  # fmt: skip
            reference = Reference.parse(f"{guarded.address}/push/token:1")
            assert await push(c, reference, picture, AUTH) == ["pushed"] * 3
            assert scopes(issuer) == [{"push/token": {"pull", "push"}}]  # one token for the whole push
            other = await c.push(Reference.parse(f"{guarded.address}/push/token-mount:1"), auth=AUTH)
            assert await other.blob(picture.layer, picture.path, mounts=["push/token"]) == "mounted"
            assert scopes(issuer)[-1] == {"push/token-mount": {"pull", "push"}, "push/token": {"pull"}}
    check(registry, "push/token:1", picture)


async def test_tls(storage: Path, tmp_path: Path, picture: Picture, registry: Registry) -> None:
    certificates: Certificates = make_certificates(tmp_path / "certificates")
    with tls_registry(tmp_path / "tls", storage, certificates) as secure:
        hosts = tmp_path / "hosts.d" / secure.address
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(f'server = "https://{secure.address}"\nca = "{certificates.ca}"\n')
        async with client(hosts.parent) as c:
            reference = Reference.parse(f"{secure.address}/push/tls:1")
            assert await push(c, reference, picture) == ["pushed"] * 3
    check(registry, "push/tls:1", picture)


async def test_a_mirror_that_may_only_be_pulled_from(
    registry: Registry, tmp_path: Path, picture: Picture
) -> None:
    hosts = tmp_path / registry.address
    hosts.mkdir()
    (hosts / "hosts.toml").write_text(
        f'server = "http://{registry.address}"\n'
        '[host."http://127.0.0.1:1"]\ncapabilities = ["pull", "resolve"]\n'
    )
    async with client(tmp_path) as c:
        reference = Reference.parse(f"{registry.address}/push/behind:1")
        assert await push(c, reference, picture) == ["pushed"] * 3
        (hosts / "hosts.toml").write_text(f'server = "http://{registry.address}"\ncapabilities = ["pull"]\n')
        with pytest.raises(FailedPrecondition, match="capability"):
            await push(c, reference, picture)


@contextlib.asynccontextmanager
async def breaking_relay(port: int, budget: list[int]) -> AsyncIterator[int]:
    """Relay connections to `port`; each upstream direction is cut after the next number in `budget`."""

    async def pump(
        source: trio.SocketStream, target: trio.SocketStream, left: float, scope: trio.CancelScope
    ) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while left > 0 and (data := await source.receive_some(min(65536, int(min(left, 65536))))):
                left -= len(data)
                await target.send_all(data)
        if left <= 0:
            await trio.sleep(0.2)  # let the registry write down what it has got
        scope.cancel()

    async def serve(client: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as upstream, trio.open_nursery() as both:
            left = budget.pop(0) if budget else float("inf")
            both.start_soon(pump, client, upstream, left, both.cancel_scope)
            both.start_soon(pump, upstream, client, float("inf"), both.cancel_scope)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        try:
            yield listeners[0].socket.getsockname()[1]
        finally:
            nursery.cancel_scope.cancel()


async def test_a_broken_upload_comes_through(registry: Registry, tmp_path: Path) -> None:
    """The connection breaks twice within an upload of 48 MiB. This registry forgets an upload whose
    connection broke, and says so when asked for it.
    """
    picture = Picture.make(tmp_path / "big", 48 << 20)
    port = int(registry.address.rpartition(":")[2])
    async with breaking_relay(port, [18 << 20, 18 << 20]) as relay, client() as c:
        with trio.fail_after(120):
            reference = Reference.parse(f"127.0.0.1:{relay}/push/broken:1")
            assert await push(c, reference, picture) == ["pushed"] * 3
        assert c.statistics()["connections_opened"] >= 3
    check(registry, "push/broken:1", picture)


async def test_nobody_there(picture: Picture) -> None:
    async with client() as c:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            await push(c, Reference.parse("127.0.0.1:1/a:1"), picture)
