"""The transfer and streaming services over gRPC: codes and reasons, credentials, progress, proxies."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
from attrs import define, field

from tricorn import wire
from tricorn.grpc import ClientCall, Code, GrpcChannel, RpcError, open_channel
from tricorn_testing.certificates import Certificates, make_certificates
from tricorn_testing.daemon import Daemon, running_daemon
from tricorn_testing.images import ImageLayout, LayerBuilder
from tricorn_testing.registry import Registry
from tricorn_testing.scripted_http import Exchange, serving
from tricorn_testing.secure_registry import PASSWORD, USER, password_registry, tls_registry

pytestmark = [pytest.mark.integration, pytest.mark.root]
TRANSFER = "/containerd.services.transfer.v1.Transfer/Transfer"
STREAM = "/containerd.services.streaming.v1.Streaming/Stream"
transfer = wire.package("containerd.services.transfer.v1")
streaming = wire.package("containerd.services.streaming.v1")
types = wire.package("containerd.types.transfer")
ANY, EMPTY = wire.message("google.protobuf.Any"), wire.message("google.protobuf.Empty")
PLATFORM = wire.message("containerd.types.Platform")


@pytest.fixture(scope="module")
def image(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    layout = ImageLayout(tmp_path_factory.mktemp("layout"))
    layers = [LayerBuilder().file(f"f{n}", b"x" * 1000).layer("gzip") for n in range(2)]
    entries = [layout.add_image(layers, platform=name) for name in ("linux/amd64", "linux/arm64")]
    layout.tag("app", layout.add_index(entries))
    return registry.push(layout, "app", "grpc-transfer/app:1")


@define
class Client:
    channel: GrpcChannel
    namespace: str

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return [("containerd-namespace", self.namespace)]

    async def transfer(self, source: Any, destination: Any, progress: str = "") -> None:
        request = transfer.TransferRequest(
            source=wire.any_of(source),
            destination=wire.any_of(destination),
            options=transfer.TransferOptions(progress_stream=progress),
        )
        await self.channel.unary(TRANSFER, request, EMPTY, self.metadata, timeout=60)

    @contextlib.asynccontextmanager
    async def stream(self, name: str) -> AsyncIterator[ClientCall]:
        async with self.channel.stream(STREAM, ANY, self.metadata, 60) as call:
            await call.send(wire.any_of(streaming.StreamInit(id=name)))
            assert isinstance(wire.unpack(await call.receive()), EMPTY)
            yield call

    async def refused(self, source: Any, destination: Any) -> RpcError:
        with pytest.raises(RpcError) as caught:
            await self.transfer(source, destination)
        return caught.value


@pytest.fixture
async def client(agent: Daemon, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    namespace = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    async with open_channel(agent.socket_path) as channel:
        yield Client(channel, namespace)


def origin(reference: str, **resolver: Any) -> Any:
    return types.OCIRegistry(reference=reference, resolver=types.RegistryResolver(**resolver))


def store(name: str, **more: Any) -> Any:
    return types.ImageStore(name=name, **more)


async def test_progress(client: Client, image: str) -> None:
    events: list[Any] = []
    async with client.stream("p") as progress:
        platform = PLATFORM(os="linux", architecture="amd64")
        unpack = types.UnpackConfiguration(platform=platform)
        await client.transfer(origin(image), store(image, platforms=[platform], unpacks=[unpack]), "p")
        while (message := await progress.receive()) is not None:
            events.append(wire.unpack(message))
    assert events[0].event == f"Resolving from OCI Registry ({image})"
    assert events[-1].event == f"Completed pull from OCI Registry ({image})"
    last = {event.name: event for event in events if event.name}
    kinds = sorted(name.partition("-")[0] for name in last if name != image)
    assert kinds == ["config", "index", "layer", "layer", "manifest"]
    assert {event.event for name, event in last.items() if name != image} == {"complete"}
    layer = next(event for name, event in last.items() if name.startswith("layer-"))
    assert layer.progress == layer.total == layer.desc.size
    assert layer.parents[0].startswith("manifest-")
    assert last[image].event == "saved"


async def test_archives_tell_of_their_parts(client: Client, image: str) -> None:
    """Out and in again: what a client hears of each part, on a stream beside the bytes."""
    await client.transfer(origin(image), store(image))
    archive, events = bytearray(), []

    async def taken(stream: ClientCall) -> None:
        await stream.send(wire.any_of(types.WindowUpdate(update=1 << 24)))
        while (message := await stream.receive()) is not None:
            archive.extend(wire.unpack(message).data)
            await stream.send(wire.any_of(types.WindowUpdate(update=1 << 20)))

    async with client.stream("p") as progress, client.stream("x") as stream, trio.open_nursery() as nursery:
        nursery.start_soon(taken, stream)
        await client.transfer(store(image), types.ImageExportStream(stream="x", all_platforms=True), "p")
        while (message := await progress.receive()) is not None:
            events.append(wire.unpack(message))
    last = {event.name: event.event for event in events if event.name}
    kinds = sorted(name.partition("-")[0] for name in last)
    assert kinds == ["config", "config", "index", "layer", "layer", "manifest", "manifest"]
    assert set(last.values()) == {"complete"}

    events.clear()
    naming = types.ImageReference(name="again", is_prefix=True, allow_overwrite=True)
    into = store("", extra_references=[naming])
    async with client.stream("q") as progress, client.stream("y") as stream, trio.open_nursery() as nursery:

        async def given() -> None:
            await stream.receive()  # the window
            await stream.send(wire.any_of(types.Data(data=bytes(archive))), end=True)

        nursery.start_soon(given)
        await client.transfer(types.ImageImportStream(stream="y"), into, "q")
        while (message := await progress.receive()) is not None:
            events.append(wire.unpack(message))
    last = {event.name: event.event for event in events if event.name}
    assert last.pop(image) == "saved"
    assert len(last) == 7
    assert set(last.values()) <= {"complete", "already exists"}


async def test_a_transfer_is_an_operation_that_can_be_cancelled(client: Client, agent: Daemon) -> None:
    operations = f"/v1/{client.namespace}/operations"
    refusals: list[RpcError] = []
    with socket.create_server(("127.0.0.1", 0)) as mute:  # a registry that never answers
        name = f"127.0.0.1:{mute.getsockname()[1]}/none/app:1"

        async def pull() -> None:
            refusals.append(await client.refused(origin(name, default_scheme="http"), store(name)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pull)
            found: list[Any] = []
            with trio.fail_after(30):
                while not found:
                    found = (await trio.to_thread.run_sync(agent.get, operations))["items"]
            assert [(each["kind"], each["object"], each["state"]) for each in found] == [
                ("pull", name, "running")
            ]
            await trio.to_thread.run_sync(agent.delete, f"{operations}/{found[0]['id']}")
    assert refusals[0].status.code.name == "CANCELLED"
    ended = await trio.to_thread.run_sync(agent.get, f"{operations}/{found[0]['id']}")
    assert ended["state"] == "cancelled"


@define
class Asked:
    """Answers credential requests, and remembers them."""

    answer: Any
    requests: list[Any] = field(factory=list)

    async def serve(self, call: ClientCall) -> None:
        with contextlib.suppress(RpcError):
            while (message := await call.receive()) is not None:
                self.requests.append(wire.unpack(message))
                await call.send(wire.any_of(self.answer))


async def asked(client: Client, reference: str, answer: Any) -> Asked:
    """Pull with credentials over a stream."""
    asked = Asked(answer)
    failure: RpcError | None = None
    name = f"c-{uuid4().hex[:8]}"  # the agent may still be closing the last one
    async with trio.open_nursery() as nursery, client.stream(name) as call:
        nursery.start_soon(asked.serve, call)
        try:
            await client.transfer(
                origin(reference, auth_stream=name, default_scheme="http"), store(reference)
            )
        except RpcError as error:
            failure = error  # raised outside: the nursery would wrap it
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return asked


async def test_credentials(client: Client, image: str, registry: Registry, tmp_path: Path) -> None:
    with password_registry(tmp_path / "locked", tmp_path / "storage") as locked:
        reference = f"{locked.address}/grpc/app:1"
        await client.transfer(origin(image), store(image))
        right = types.AuthResponse(authType=1, username=USER, secret=PASSWORD)
        pusher = Asked(right)
        async with trio.open_nursery() as nursery, client.stream("push") as call:
            nursery.start_soon(pusher.serve, call)
            await client.transfer(store(image), origin(reference, auth_stream="push"))
            nursery.cancel_scope.cancel()
        assert len(pusher.requests) == 1
        (request,) = (await asked(client, reference, right)).requests
        assert (request.host, request.reference) == (locked.address, reference)
        assert request.wwwauthenticate[0].startswith("Basic ")
        for answer in (
            types.AuthResponse(authType=1, username=USER, secret="wrong"),
            types.AuthResponse(authType=2),
        ):
            with pytest.raises(RpcError) as caught:
                await asked(client, reference, answer)
            assert caught.value.status.code is Code.UNAUTHENTICATED


async def test_a_header_instead_of_credentials(client: Client) -> None:
    async def guarded(exchange: Exchange) -> None:
        if exchange.headers.get("authorization") == "Bearer given":
            await exchange.json(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "but welcome"}]})
        else:
            await exchange.answer(401, {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/"'})

    async with serving(guarded) as server:
        with pytest.raises(RpcError) as caught:
            await asked(
                client, f"{server.address}/a/b:1", types.AuthResponse(authType=3, secret="Bearer given")
            )
        assert caught.value.status.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, Code.UNAUTHENTICATED), (403, Code.PERMISSION_DENIED), (404, Code.NOT_FOUND),
        (400, Code.FAILED_PRECONDITION),
    ],
)  # fmt: skip
async def test_what_the_registry_says(client: Client, status: int, code: Code) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.json(status, {"errors": [{"code": "DENIED", "message": "for a reason"}]})

    async with serving(refuse) as server:
        error = await client.refused(
            origin(f"{server.address}/a/b:1", headers={"X-Team": "blue"}), store("a/b:1")
        )
        assert server.seen[0].headers["x-team"] == "blue"
    assert error.status.code is code
    assert str(status) in error.status.message or status == 401
    assert ("DENIED: for a reason" in error.status.message) == (status in {400, 403})  # HEAD tells none


async def test_what_is_not_there(client: Client, image: str) -> None:
    for source, destination, code in (
        (store("none:1"), origin("127.0.0.1:1/a:1"), Code.NOT_FOUND),
        (store("none:1"), store("other:1"), Code.NOT_FOUND),
        (types.ImageImportStream(stream="none"), store("a"), Code.NOT_FOUND),
        (origin(image, auth_stream="none"), store("a"), Code.NOT_FOUND),
        (origin("127.0.0.1:1/a:1"), store("a"), Code.UNAVAILABLE),
        (origin("NO VALID/reference"), store("a"), Code.INVALID_ARGUMENT),
        (origin(image), store(""), Code.INVALID_ARGUMENT),
        (origin(image, host_dir="relative"), store("a"), Code.INVALID_ARGUMENT),
        (origin(image, default_scheme="ftp"), store("a"), Code.INVALID_ARGUMENT),
        (origin(image), origin(image), Code.UNIMPLEMENTED),
        (types.ImageImportStream(stream="x"), origin(image), Code.UNIMPLEMENTED),
        (EMPTY(), EMPTY(), Code.UNIMPLEMENTED),
    ):
        error = await client.refused(source, destination)
        assert error.status.code is code, (source, error)
        assert error.status.message


async def test_streams(client: Client, agent: Daemon) -> None:
    with pytest.raises(RpcError) as caught:
        async with client.channel.stream(STREAM, ANY, client.metadata, 60) as call:
            await call.send(wire.any_of(EMPTY()))
            await call.receive()
    assert caught.value.status.code is Code.INVALID_ARGUMENT
    async with client.stream("one"):
        with pytest.raises(RpcError) as caught:
            async with client.stream("one"):
                pass
        assert caught.value.status.code is Code.ALREADY_EXISTS
    async with open_channel(agent.socket_path) as channel, Client(channel, client.namespace).stream("two"):
        pass
    for _ in range(3000):  # it goes with its connection
        error = await client.refused(types.ImageImportStream(stream="two"), store("a"))
        if error.status.code is Code.NOT_FOUND:
            return
        await trio.sleep(0.01)
    pytest.fail("a stream outlives its connection")


async def test_an_import_whose_client_goes(client: Client, agent: Daemon, image: str) -> None:
    """Half an archive is no archive, and nothing of it stays in work."""
    async with open_channel(agent.socket_path) as channel:
        going = Client(channel, client.namespace)
        with trio.move_on_after(60) as scope:
            async with trio.open_nursery() as nursery, going.stream("i") as call:

                async def half() -> None:
                    await call.receive()
                    header = bytearray(512)
                    await call.send(wire.any_of(types.Data(data=bytes(header[:100]))))
                    scope.cancel()

                nursery.start_soon(half)
                await going.transfer(types.ImageImportStream(stream="i"), store("a"))
    await client.transfer(origin(image), store(image))  # the agent is well


async def test_a_hosts_directory_of_the_client(
    client: Client, tmp_path: Path, registry: Registry, image: str
) -> None:
    hosts = tmp_path / "mirrored.example"
    hosts.mkdir()
    (hosts / "hosts.toml").write_text(f'server = "http://{registry.address}"\n')
    name = "mirrored.example/grpc-transfer/app:1"
    await client.transfer(origin(name, host_dir=str(tmp_path)), store(name))


class Stuck:
    """A registry that gives an image's documents, and never its layers."""

    def __init__(self, layout: ImageLayout, digest: str) -> None:
        self.layout, self.digest = layout, digest
        self.asked = trio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        name = exchange.path.rpartition("/")[2]
        document = self.layout.document(self.digest)
        if "/manifests/" in exchange.path:
            data = self.layout.blob(self.digest).read_bytes()
            headers = {"Content-Type": document["mediaType"], "Docker-Content-Digest": self.digest}
            await exchange.answer(200, headers, data)
        elif name == document["config"]["digest"]:
            await exchange.answer(200, {}, self.layout.blob(name).read_bytes())
        else:
            self.asked.set()
            await trio.sleep_forever()


async def test_a_client_that_gives_up(client: Client, agent: Daemon, layout: ImageLayout) -> None:
    """What was begun for it ends; nothing is held or left."""
    entry = layout.add_image([LayerBuilder().file("f", b"stuck").layer("gzip")])
    stuck = Stuck(layout, entry["digest"])
    snapshots = directories(agent)
    async with serving(stuck) as server:
        with trio.move_on_after(60) as scope:
            async with trio.open_nursery() as nursery:
                platform = PLATFORM(os="linux", architecture="amd64")
                unpack = types.UnpackConfiguration(platform=platform)
                destination = store("stuck:1", platforms=[platform], unpacks=[unpack])
                nursery.start_soon(client.transfer, origin(f"{server.address}/a/stuck:1"), destination)
                await stuck.asked.wait()
                scope.cancel()
        for _ in range(3000):
            if not busy(agent) and directories(agent) == snapshots:
                break
            await trio.sleep(0.01)
        assert not busy(agent)
    assert directories(agent) == snapshots
    error = await client.refused(store("stuck:1"), store("other:1"))
    assert error.status.code is Code.NOT_FOUND
    assert agent.get(f"/v1/{client.namespace}/leases")["items"] == []


def directories(agent: Daemon) -> list[str]:
    return sorted(path.name for path in (agent.root / "snapshots/overlayfs").glob("*"))


def busy(agent: Daemon) -> int:
    found: int = agent.get("/v1/info")["statistics"]["registry"]["connections_busy"]
    return found


async def test_documents_that_are_no_images(
    client: Client, agent: Daemon, layout: ImageLayout, registry: Registry
) -> None:
    """Attestations beside an image, and a manifest without an index around it."""
    image = layout.add_image([LayerBuilder().file("f", b"attested").layer("gzip")])
    statement = layout.add_blob(b'{"predicate": 1}', "application/vnd.in-toto+json")
    config = layout.add_document(
        {"architecture": "unknown", "os": "unknown"}, "application/vnd.oci.image.config.v1+json"
    )
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    attestation = layout.add_document(
        {"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [statement]},
        manifest_type,
    )
    attestation["platform"] = {"os": "unknown", "architecture": "unknown"}
    layout.tag("attested", layout.add_index([image, attestation]))
    layout.tag("bare", {key: value for key, value in image.items() if key != "platform"})
    for tag in ("attested", "bare"):
        reference = registry.push(layout, tag, f"grpc-transfer/{tag}:1")
        await client.transfer(origin(reference), store(reference))
    there = {item["digest"] for item in agent.get(f"/v1/{client.namespace}/content")["items"]}
    assert statement["digest"] in there
    copy = f"{registry.address}/grpc-transfer/attested-copy:1"
    await client.transfer(store(f"{registry.address}/grpc-transfer/attested:1"), origin(copy))
    assert registry.digest("grpc-transfer/attested-copy:1") == registry.digest("grpc-transfer/attested:1")


async def test_a_limit_of_manifests(
    client: Client, agent: Daemon, layout: ImageLayout, registry: Registry
) -> None:
    entries = [
        layout.add_image([LayerBuilder().file("limit", name).layer("gzip")], platform=name)
        for name in ("linux/amd64", "linux/arm64", "linux/s390x")
    ]
    layout.tag("three", layout.add_index(entries))
    reference = registry.push(layout, "three", "grpc-transfer/three:1")
    await client.transfer(origin(reference), store(reference, manifest_limit=2))
    there = {item["digest"] for item in agent.get(f"/v1/{client.namespace}/content")["items"]}
    assert [entry["digest"] in there for entry in entries] == [True, True, False]


class Tunnel:
    """A CONNECT proxy that leads everything to one port, and remembers where it was asked to lead."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[str] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.asked.append(f"{exchange.method} {exchange.target}")
        if exchange.method != "CONNECT":
            await exchange.answer(405)
            return
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as upstream:
            await exchange.raw(b"HTTP/1.1 200 OK\r\n\r\n")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pump, exchange.stream, upstream, nursery.cancel_scope)
                await _pump(upstream, exchange.stream, nursery.cancel_scope)


async def _pump(source: trio.abc.Stream, target: trio.abc.Stream, scope: trio.CancelScope) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some(65536):
            await target.send_all(data)
    scope.cancel()


async def test_through_a_proxy(image: str, registry: Registry, tmp_path: Path) -> None:
    """The agent's own environment names the proxy and the roots of trust; NO_PROXY is kept to."""
    certificates: Certificates = make_certificates(tmp_path / "certificates")
    with tls_registry(tmp_path / "tls", tmp_path / "storage", certificates) as secure:
        tunnel = Tunnel(int(secure.address.rpartition(":")[2]))
        async with serving(tunnel) as proxy:
            environment = {
                "HTTPS_PROXY": proxy.url, "NO_PROXY": "direct.test", "SSL_CERT_FILE": str(certificates.ca),
            }  # fmt: skip
            with running_daemon(environment=environment) as agent:
                async with open_channel(agent.socket_path) as channel:
                    client = Client(channel, "proxied")
                    await client.transfer(origin(image), store(image))
                    name = "registry.test/proxied/app:1"
                    await client.transfer(store(image), origin(name))
                    await client.transfer(origin(name), store(name))
                    error = await client.refused(origin("direct.test/a:1"), store("a"))
        assert error.status.code is Code.UNAVAILABLE
        assert set(tunnel.asked) == {"CONNECT registry.test:443"}
