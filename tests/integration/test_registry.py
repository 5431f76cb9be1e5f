"""The registry client against Debian's docker-registry: plain, with TLS, a password, a token server."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from attrs import frozen

from tricorn.errors import FailedPrecondition, NotFound, Unauthenticated, Unavailable
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor, Index, Manifest, Platform, parse_image_config, parse_image_document
from tricorn.model.reference import Reference
from tricorn.model.requests import RegistryAuth
from tricorn.registry.client import RegistryClient
from tricorn.registry.credentials import CredentialBook, CredentialEntry, CredentialSettings
from tricorn.registry.pacing import Pacing
from tricorn.rules.platforms import choose
from tricorn_testing.certificates import Certificates, make_certificates
from tricorn_testing.images import ImageLayout, LayerBuilder
from tricorn_testing.memory_sink import MemorySink
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import Registry, running_registry
from tricorn_testing.scripted_http import Exchange, serving
from tricorn_testing.secure_registry import PASSWORD, USER, password_registry, tls_registry, token_registry
from tricorn_testing.token_server import ISSUER, SERVICE, TokenServer

pytestmark = pytest.mark.integration
NAME = "registry-client/app:1"
AUTH = RegistryAuth(USER, PASSWORD)
PACING = Pacing(connect=5.0, stall=5.0, backoff_first=0.01, backoff_max=0.1)


@frozen
class Filled:
    """A registry with one image for two platforms; its storage serves the other registries, too."""

    registry: Registry
    storage: Path


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    layout = ImageLayout(tmp_path_factory.mktemp("layout"))
    layers = [
        LayerBuilder().file("big", os.urandom(4 << 20)).layer("gzip"),
        LayerBuilder().file("b").layer("zstd"),
    ]
    images = [
        layout.add_image(layers, {"Cmd": [platform]}, platform=platform)
        for platform in ("linux/amd64", "linux/arm64/v8")
    ]
    layout.tag("app", layout.add_index(images))
    with short_directory() as directory, running_registry(directory) as registry:
        registry.push(layout, "app", NAME)
        yield Filled(registry, directory / "storage")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "certificates")


def client(hosts_dir: Path | str = "", **more: object) -> RegistryClient:
    arguments = {
        "environment": {},
        "user_agent": "tricorn/test",
        "random": random.Random(1),
        "pacing": PACING,
        **more,
    }
    return RegistryClient(str(hosts_dir), **arguments)


async def pull(c: RegistryClient, reference: Reference, auth: RegistryAuth | None = None) -> list[MemorySink]:
    """Pull everything for linux/amd64, verified as the agent does it."""
    root = await c.resolve(reference, auth=auth)
    index = parse_image_document(await c.fetch_document(reference, root, auth=auth), root.media_type)
    assert isinstance(index, Index)
    chosen = choose(index.manifests, Platform("linux", "amd64"))
    manifest = parse_image_document(await c.fetch_document(reference, chosen, auth=auth), chosen.media_type)
    assert isinstance(manifest, Manifest)
    config = parse_image_config(await c.fetch_document(reference, manifest.config, auth=auth))
    assert config.cmd == ("linux/amd64",)
    sinks = [MemorySink() for _ in manifest.layers]

    async def one(layer: Descriptor, sink: MemorySink) -> None:
        await c.fetch(reference, layer, sink, auth=auth)
        assert hashlib.sha256(sink.data).hexdigest() == layer.digest.hex

    async with trio.open_nursery() as nursery:
        for layer, sink in zip(manifest.layers, sinks, strict=True):
            nursery.start_soon(one, layer, sink)
    return sinks


def at(registry: Registry, name: str = NAME) -> Reference:
    return Reference.parse(f"{registry.address}/{name}")


async def test_a_whole_image(filled: Filled) -> None:
    async with client() as c:
        big, _ = await pull(c, at(filled.registry))
        assert big.offset > 4 << 20
        statistics = c.statistics()
    assert statistics["retries"] == 0
    assert statistics["connections_opened"] <= 2
    assert statistics["requests"] == 6


async def test_a_digest_and_a_resumed_layer(filled: Filled) -> None:
    digest = filled.registry.digest(NAME)
    async with client() as c:
        reference = Reference.parse(f"{filled.registry.address}/registry-client/app@{digest}")
        big, _ = await pull(c, reference)
        layer = Descriptor("application/octet-stream", Digest.of(bytes(big.data)), big.offset)
        resumed = MemorySink(big.data[:1_000_001])
        await c.fetch(reference, layer, resumed)
        received = c.statistics()["bytes_received"]
    assert resumed.data == big.data
    assert received < 2 * big.offset  # the second time the missing part only


async def test_what_is_not_there(filled: Filled) -> None:
    async with client() as c:
        with pytest.raises(NotFound):
            await c.resolve(at(filled.registry, "registry-client/app:2"))
        missing = Descriptor("application/octet-stream", Digest.of(b"missing"), 7)
        with pytest.raises(NotFound, match="BLOB_UNKNOWN"):
            await c.fetch(at(filled.registry), missing, MemorySink())


async def test_a_password(filled: Filled, tmp_path: Path) -> None:
    with password_registry(tmp_path / "password", filled.storage) as registry:
        async with client() as c:
            with pytest.raises(Unauthenticated):
                await c.resolve(at(registry))
            with pytest.raises(Unauthenticated):
                await c.resolve(at(registry), auth=RegistryAuth(USER, "wrong"))
            await pull(c, at(registry), AUTH)
        password = tmp_path / "secret"
        password.write_text(f"{PASSWORD}\n")
        password.chmod(0o600)
        entry = CredentialEntry(registry.address, USER, str(password))
        async with client(credentials=CredentialBook(CredentialSettings((entry,)))) as c:
            await pull(c, at(registry))


async def test_a_token_server(filled: Filled, tmp_path: Path) -> None:
    issuer = TokenServer(tmp_path / "issuer")
    async with serving(issuer) as tokens, client() as c:
        with token_registry(
            tmp_path / "token", filled.storage, realm=f"{tokens.url}/token",
            certificate=issuer.certificate, issuer=ISSUER, service=SERVICE,
        ) as registry:  # fmt: skip
            with pytest.raises(Unauthenticated, match="who are you"):
                await c.resolve(at(registry))
            await pull(c, at(registry), AUTH)
    assert issuer.scopes == [["repository:registry-client/app:pull"]]  # one token for the whole pull


async def test_tls(filled: Filled, tmp_path: Path, certificates: Certificates) -> None:
    with tls_registry(tmp_path / "tls", filled.storage, certificates) as registry:
        hosts = tmp_path / "hosts.d" / registry.address
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(
            f'server = "https://{registry.address}"\nca = "{certificates.ca}"\n'
        )
        async with client(hosts.parent) as c:
            await pull(c, at(registry))
        (hosts / "hosts.toml").write_text(f'server = "https://{registry.address}"\n')
        async with client(hosts.parent) as c:
            with pytest.raises(FailedPrecondition, match="can't be trusted"):
                await c.resolve(at(registry))
        (hosts / "hosts.toml").unlink()
        (hosts / "ca.crt").symlink_to(certificates.ca)
        async with client(hosts.parent) as c:
            await pull(c, at(registry))


async def test_a_mirror_in_front_of_docker_hub(filled: Filled, tmp_path: Path) -> None:
    """The image comes from the mirror alone: the upstream is never reached."""
    hosts = tmp_path / "docker.io"
    hosts.mkdir()
    (hosts / "hosts.toml").write_text(
        f'server = "http://127.0.0.1:1"\n[host."http://{filled.registry.address}"]\ncapabilities = ["pull", "resolve"]\n'
    )
    async with client(tmp_path) as c:
        await pull(c, Reference.parse(NAME))


async def test_a_registry_that_restarts_in_the_middle(filled: Filled) -> None:
    """A relay breaks each connection after 600 kB; the pull goes on from there each time."""
    port = int(filled.registry.address.rpartition(":")[2])

    async def relay(exchange: Exchange) -> None:
        await exchange.raw(b"")
        async with await trio.open_tcp_stream("127.0.0.1", port) as upstream:
            head = f"{exchange.method} {exchange.target} HTTP/1.1\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in exchange.headers.items())
            await upstream.send_all(f"{head}Connection: close\r\n\r\n".encode())
            left = 600_000
            while left and (data := await upstream.receive_some(left)):
                left -= len(data)
                await exchange.stream.send_all(data)

    async with serving(relay) as relayed, client() as c:
        big, _ = await pull(c, Reference.parse(f"{relayed.address}/{NAME}"))
        assert c.statistics()["retries"] >= big.offset // 600_000


async def test_nobody_there() -> None:
    async with client() as c:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            await c.resolve(Reference.parse("127.0.0.1:1/a:1"))


@pytest.fixture
def blob(filled: Filled) -> Callable[[int], Descriptor]:
    """Put a blob of so many bytes into the registry."""

    def put(size: int) -> Descriptor:
        data = os.urandom(1 << 20) * (size >> 20)
        digest = Digest.of(data)
        repository = NAME.partition(":")[0]
        _, headers, _ = filled.registry.request("POST", f"/v2/{repository}/blobs/uploads/", b"", expect=202)
        path = headers["location"].removeprefix(f"http://{filled.registry.address}")
        filled.registry.request(
            "PUT", f"{path}&digest={digest}", data, {"Content-Type": "application/octet-stream"}, expect=201
        )
        return Descriptor("application/octet-stream", digest, len(data))

    return put


class NullSink:
    """Counts."""

    offset = 0

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.offset += len(data)


@pytest.mark.slow
async def test_a_large_blob_costs_little(filled: Filled, blob: Callable[[int], Descriptor]) -> None:
    """200 MB into nowhere, in CPU time, which others on the machine don't change much."""
    descriptor = blob(200 << 20)
    async with client() as c:
        rates = []
        for _ in range(3):
            started = time.process_time()
            await c.fetch(at(filled.registry), descriptor, NullSink())
            rates.append(descriptor.size / (time.process_time() - started) / 1e6)
    assert max(rates) > 200, rates
