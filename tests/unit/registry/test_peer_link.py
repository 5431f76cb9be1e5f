"""The way to another agent: each request gets its own answer, whatever became of the one before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio

from tricorn.errors import NotFound, Unavailable
from tricorn.registry.pacing import Pacing
from tricorn.registry.peer_link import PeerFiles, PeerLink
from tricorn_testing.certificates import Certificates, make_certificates


class Peer:
    """Answers each request with its path, those below /slow once `go` is set, those below /no with 404."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.go = trio.Event()
        self.connections = 0

    async def serve(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.connections += 1
        try:
            while b"\r\n\r\n" in (request := await stream.receive_some(65536)):
                await self._answer(stream, request.split()[1].decode())
        except trio.BrokenResourceError:
            pass  # the other side has closed

    async def _answer(self, stream: trio.SSLStream[trio.SocketStream], path: str) -> None:
        if path.startswith("/slow"):
            self.asked.set()
            await self.go.wait()
        problem = f'{{"code": "NotFound", "what": "{path}"}}'
        status, body = ("404 No", problem) if path.startswith("/no") else ("200 OK", f'"{path}"')
        answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        await stream.send_all(answer.encode())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def peer(nursery: trio.Nursery) -> Peer:
    return Peer()


@pytest.fixture
async def link(peer: Peer, certificates: Certificates, nursery: trio.Nursery) -> AsyncIterator[PeerLink]:
    context = certificates.server_context(want_client=True)
    serve = partial(trio.serve_ssl_over_tcp, peer.serve, 0, context, host="127.0.0.1", https_compatible=True)
    listeners = await nursery.start(serve)
    port = listeners[0].transport_listener.socket.getsockname()[1]
    files = PeerFiles(certificates.file("client.crt"), certificates.file("client.key"), certificates.ca)
    async with PeerLink(f"127.0.0.1:{port}", files, Pacing(stall=1.0)) as link:
        yield link
    nursery.cancel_scope.cancel()


async def test_a_cancelled_request_takes_no_other_ones_answer(link: PeerLink, peer: Peer) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.ask, "GET", "/slow")
        await peer.asked.wait()
        nursery.cancel_scope.cancel()
    peer.go.set()
    assert await link.ask("GET", "/next") == "/next"
    assert peer.connections == 2


async def test_an_answer_that_comes_too_late_is_nobody_elses(link: PeerLink, peer: Peer) -> None:
    with pytest.raises(Unavailable, match="within 1 s"):
        await link.ask("GET", "/slow")
    peer.go.set()
    assert await link.ask("GET", "/next") == "/next"


async def test_errors_that_are_told_leave_the_connection_open(link: PeerLink, peer: Peer) -> None:
    with pytest.raises(NotFound, match="/no/such"):
        await link.ask("GET", "/no/such")
    assert await link.ask("GET", "/next") == "/next"
    assert peer.connections == 1
