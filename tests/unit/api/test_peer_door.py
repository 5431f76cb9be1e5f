"""The door for other nodes: what its answers look like, and what keeps one peer from taking it all."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from tricorn.api.http.replies import Data, Whole
from tricorn.api.http.wire import Head
from tricorn.api.registry.door import PeerDoor, PeerListener
from tricorn.api.registry.pace import Pace
from tricorn.api.registry.site import RegistrySite
from tricorn.errors import NotFound, TricornError, Unavailable
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from tricorn.rules.authorise import Peer
from tricorn.rules.peers import Grant, Identity, PeerRule
from tricorn.service.peers import PeerFigures, ServedBlob

DIGEST = Digest.of(b"blob")
PATH = f"/v2/r.example/app/blobs/{DIGEST}"
PEER = Identity(frozenset({"dns:node"}))


class Service:
    """Has one blob, or the error that a test wants."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.figures = PeerFigures()
        self.grant = Grant(("default",), ("**",), (PeerRule(("node",)),))

    async def blob(self, *_: Any) -> ServedBlob:
        if self.error:
            raise self.error
        return ServedBlob(DIGEST, OCI_LAYER, "/blob", 1000)

    async def referrers(self, _peer: Any, _repository: str, _which: str, kind: str) -> list[Descriptor]:
        if self.error:
            raise self.error
        return [Descriptor(OCI_MANIFEST, DIGEST, 10, artifact_type=kind)]

    def statistics(self) -> dict[str, int]:
        return {}


async def ask(
    service: Service, target: str = PATH, method: str = "GET", *, crowded: bool = False, **headers: str
) -> Any:
    site = RegistrySite(service, PEER, Pace(0), lambda: crowded)  # type: ignore[arg-type]
    body: Any = SimpleNamespace()
    return await site.answer(Head(method, target, headers), body, Peer(0, -1, -1))


def code_of(reply: Whole) -> str:
    return str(json.loads(reply.body)["errors"][0]["code"])


async def test_a_blob_and_a_part_of_it() -> None:
    service = Service()
    reply = await ask(service)
    assert isinstance(reply, Data)
    assert (reply.status, reply.offset, reply.size) == (200, 0, 1000)
    assert ("Docker-Content-Digest", DIGEST) in reply.headers
    part = await ask(service, range="bytes=100-199")
    assert (part.status, part.offset, part.size) == (206, 100, 100)
    assert ("Content-Range", "bytes 100-199/1000") in part.headers
    head = await ask(service, method="HEAD", range="bytes=100-199")
    assert (head.status, head.size) == (200, 1000)
    await reply.sent(1000)
    assert service.figures.bytes_served == 1000


@pytest.mark.parametrize(
    ("error", "status", "code", "word"),
    [
        (NotFound("no"), 404, "BLOB_UNKNOWN", "none"),
        (Unavailable("coming", bringing=42), 503, "UNAVAILABLE", "bringing 42"),
        (Unavailable("busy"), 503, "UNAVAILABLE", ""),
        (RuntimeError("a mistake with secrets"), 500, "UNKNOWN", ""),
    ],
)
async def test_refusals_are_ocis_and_tell_peers_whether_to_wait(
    error: Exception, status: int, code: str, word: str
) -> None:
    reply = await ask(Service(error))
    assert (reply.status, code_of(reply)) == (status, code)
    assert dict(reply.headers).get("Tricorn-Peer", "") == word
    assert b"secrets" not in reply.body
    if isinstance(error, TricornError) and status == 503:
        assert dict(reply.headers)["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("target", "method", "status", "code"),
    [
        (PATH, "DELETE", 405, "UNSUPPORTED"),
        (PATH, "PUT", 405, "UNSUPPORTED"),
        ("/v2/r.example/app/blobs/uploads/", "POST", 405, "UNSUPPORTED"),
        ("/v1/default/images", "GET", 404, "UNSUPPORTED"),
        ("/v2/R.example/APP/blobs/x", "GET", 400, "NAME_INVALID"),
    ],
)
async def test_nothing_but_reading(target: str, method: str, status: int, code: str) -> None:
    reply = await ask(Service(), target, method)
    assert (reply.status, code_of(reply)) == (status, code)


async def test_referrers_by_their_type() -> None:
    target = f"/v2/r.example/app/referrers/{DIGEST}"
    reply = await ask(Service(), f"{target}?artifactType=application%2Fspdx%2Bjson")
    assert (reply.status, reply.content_type) == (200, OCI_INDEX)
    assert ("OCI-Filters-Applied", "artifactType") in reply.headers
    assert json.loads(reply.body)["manifests"] == [
        {
            "mediaType": OCI_MANIFEST, "digest": str(DIGEST), "size": 10,
            "artifactType": "application/spdx+json",
        }
    ]  # fmt: skip
    reply = await ask(Service(NotFound("nothing")), target)
    assert (reply.status, code_of(reply)) == (404, "NAME_UNKNOWN")


async def test_a_peer_with_too_many_connections_is_told_to_wait() -> None:
    reply = await ask(Service(), crowded=True)
    assert (reply.status, code_of(reply)) == (429, "TOOMANYREQUESTS")


async def test_connections_are_counted_for_each_peer() -> None:
    service = Service()
    door = PeerDoor(service, rate=0, connections_each=1)  # type: ignore[arg-type]
    certificate = {"subjectAltName": (("DNS", "node"),)}
    answers: list[bytes] = []
    async with trio.open_nursery() as nursery:
        clients = []
        for number in range(2):
            client, server = trio.testing.memory_stream_pair()
            nursery.start_soon(door.serve_peer, server, certificate)
            clients.append(client)
            await trio.testing.wait_all_tasks_blocked()
            await client.send_all(b"GET /v2/ HTTP/1.1\r\nHost: n\r\n\r\n")
            answers.append(bytes(await client.receive_some(4096)).split(b"\r\n")[0])
            assert door.statistics()["connections"] == number + 1
        assert door.statistics()["peers"] == 1
        for client in clients:
            await client.aclose()
    assert answers == [b"HTTP/1.1 200 OK", b"HTTP/1.1 429 Too Many Requests"]
    assert door.statistics()["peers"] == 0


async def test_who_may_have_nothing_is_not_heard() -> None:
    service = Service()
    door = PeerDoor(service, rate=0, connections_each=1)  # type: ignore[arg-type]
    _, server = trio.testing.memory_stream_pair()
    with trio.fail_after(30):
        await door.serve_peer(server, {"subjectAltName": (("DNS", "stranger"),)})
    assert service.figures.refused == 1


async def test_all_peers_share_one_rate(autojump_clock: trio.testing.MockClock) -> None:
    pace = Pace(1000)
    began = trio.current_time()

    async def send() -> None:
        for _ in range(10):
            await pace.spend(500)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(send)
    assert 14 <= trio.current_time() - began <= 15.1
    began = trio.current_time()
    await Pace(0).spend(10**9)
    assert trio.current_time() == began


async def test_a_file_is_sent_from_an_offset(tmp_path: Path) -> None:
    from tricorn.api.http.sending import Sender, send_data
    from tricorn.api.http.wire import Wire

    (tmp_path / "blob").write_bytes(bytes(range(256)) * 16)
    sent: list[int] = []

    async def note(count: int) -> None:
        sent.append(count)

    ours, theirs = trio.testing.memory_stream_pair()
    wire = Wire()
    wire.feed(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n")
    assert isinstance(wire.next(), Head)
    wire.next()
    reply = Data(str(tmp_path / "blob"), 10, (), 206, 256 + 5, note)
    await send_data(Sender(ours), wire, reply, close=True)
    await ours.aclose()
    data = b""
    async for part in theirs:
        data += bytes(part)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 206 ")
    assert b"content-length: 10" in head.lower()
    assert body == bytes(range(5, 15))
    assert sent == [10]


async def test_one_address_cannot_fill_all_places_without_a_certificate(nursery: trio.Nursery) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    door: Any = SimpleNamespace(drain=lambda: None, abort=lambda: None, shed=lambda: False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listener = PeerListener([listening], door, lambda: context, connections=8)
    await nursery.start(listener.serve)
    stalled = [await trio.open_tcp_stream(*address) for _ in range(2)]  # and they never say anything
    while listener.statistics()["connections_open"] < 2:  # noqa: ASYNC110 - nothing tells of it
        await trio.sleep(0.01)
    with trio.fail_after(5):
        third = await trio.open_tcp_stream(*address)
        assert await third.receive_some() == b""
        elsewhere = await trio.open_tcp_stream(*address, local_address="127.0.0.2")
        while listener.statistics()["connections_accepted"] < 4:  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.01)
    with trio.move_on_after(0.2) as waited:
        await elsewhere.receive_some()
    assert waited.cancelled_caught  # this one is waited for
    for stream in (*stalled, third, elsewhere):
        await stream.aclose()
    await listener.stop()
