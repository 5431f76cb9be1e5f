"""The listening socket: who may connect, what is in its way, and what happens when descriptors run out."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest
import trio
import trio.testing

from tricorn.api import listen as listening
from tricorn.api.listen import Listener
from tricorn.api.socketfile import inherit, listen
from tricorn.errors import Conflict, InvalidArgument
from tricorn.rules.authorise import Peer


class Echo:
    """Sends back what it first got, then waits to be let go."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.release = trio.Event()
        self.sheds = 0
        self.raises: Exception | None = None

    async def serve_connection(self, stream: trio.SocketStream, peer: Peer, first_bytes: bytes) -> None:
        self.peers.append(peer)
        if self.raises:
            raise self.raises
        await stream.send_all(first_bytes)
        await self.release.wait()

    def drain(self) -> None:
        self.release.set()

    def abort(self) -> None:
        pass

    def shed(self) -> bool:
        self.sheds += 1
        return False


def test_own_socket_has_mode_and_replaces_a_stale_one(short_path: Path) -> None:
    path = short_path / "s"
    listen(str(path), "root").close()
    with listen(str(path), "no-such-group-here"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_somebody_else_listens(short_path: Path) -> None:
    path = str(short_path / "s")
    with listen(path, "root"), pytest.raises(Conflict, match="another process"):
        listen(path, "root")


def test_things_in_the_way_are_left_alone(short_path: Path) -> None:
    file = short_path / "s"
    file.write_text("precious")
    with pytest.raises(InvalidArgument, match="no socket"):
        listen(str(file), "root")
    assert file.read_text() == "precious"
    with pytest.raises(InvalidArgument, match="too long"):
        listen(str(short_path / ("a" * 120)), "root")
    with pytest.raises(InvalidArgument, match="cannot listen"):
        listen(str(short_path / "missing" / "s"), "root")


def test_inherited_sockets_are_checked(short_path: Path) -> None:
    with listen(str(short_path / "s"), "root") as listener:
        copy = os.dup(listener.fileno())
        inherited = inherit([copy])
        assert inherited[0].fileno() == copy
        inherited[0].close()
    one, other = socket.socketpair()
    with one, other, pytest.raises(InvalidArgument, match="no listening"):
        inherit([one.fileno()])
    with open(short_path / "file", "wb") as file, pytest.raises((InvalidArgument, OSError)):
        inherit([file.fileno()])


async def test_protocols_are_told_apart_by_the_first_bytes(short_path: Path) -> None:
    http1, http2 = Echo(), Echo()
    path = str(short_path / "s")
    listener = Listener([listen(path, "root")], http1_handler=http1, http2_handler=http2)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.serve)
        for data, handler in ((b"PRI * HTTP", http2), (b"PUT /", http1), (b"PR", http1), (b"GET", http1)):
            stream = await trio.open_unix_socket(path)
            for number in range(len(data)):  # in single bytes
                await stream.send_all(data[number : number + 1])
            if data == b"PR":
                await stream.send_all(b"X")
            with trio.fail_after(60):
                first = bytes(await stream.receive_some())
            assert data.startswith(first[:2])
            assert handler.peers
            await stream.aclose()
        await listener.stop()
    assert len(http2.peers) == 1
    assert len(http1.peers) == 3


async def test_a_failing_connection_fails_alone(short_path: Path) -> None:
    handler = Echo()
    path = str(short_path / "s")
    listener = Listener([listen(path, "root")], http1_handler=handler)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.serve)
        for error in (RuntimeError("bug"), ExceptionGroup("g", [ValueError()]), trio.BrokenResourceError()):
            handler.raises = error
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(b"GET")
                with trio.fail_after(60):
                    assert await closed(stream)
        handler.raises = None
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b"GET")
            assert await stream.receive_some() == b"GET"
            await listener.stop()
    assert listener.statistics() == {
        "connections_open": 0, "connections_accepted": 4, "connections_refused": 0, "connections_failed": 2,
    }  # fmt: skip


async def closed(stream: trio.SocketStream) -> bool:
    try:
        return not await stream.receive_some()
    except trio.BrokenResourceError:
        return True


async def test_connections_are_bounded(short_path: Path) -> None:
    handler = Echo()
    path = str(short_path / "s")
    listener = Listener([listen(path, "root")], http1_handler=handler, connections=2)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.serve)
        streams = [await trio.open_unix_socket(path) for _ in range(3)]
        for stream in streams:
            await stream.send_all(b"GET")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert listener.statistics()["connections_open"] == 2
        assert handler.sheds == 1
        await streams[0].aclose()
        handler.release.set()
        with trio.fail_after(60):
            assert await streams[2].receive_some() == b"GET"
        await listener.stop()
        for stream in streams:
            await stream.aclose()


async def test_running_out_of_descriptors(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_ACCEPT_PAUSE", 0.01)
    handler = Echo()
    path = str(short_path / "s")
    raw = listen(path, "root")
    listener = Listener([raw], http1_handler=handler)
    failures = [OSError(errno.EMFILE, "too many"), OSError(errno.ECONNABORTED, "gone")]
    inner = type(listener._sockets[0]).accept

    async def failing(self: object) -> object:
        if failures:
            await trio.lowlevel.checkpoint()
            raise failures.pop(0)
        return await inner(self)  # type: ignore[arg-type]

    monkeypatch.setattr(type(listener._sockets[0]), "accept", failing)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.serve)
        stream = await trio.open_unix_socket(path)
        await stream.send_all(b"GET")
        with trio.fail_after(60):
            assert await stream.receive_some() == b"GET"
        await listener.stop()
        await stream.aclose()
    assert listener.statistics()["connections_refused"] == 2
    assert handler.sheds == 1


async def test_cancelling_serve_closes_everything(short_path: Path) -> None:
    path = str(short_path / "s")
    listener = Listener([listen(path, "root")], http1_handler=Echo())
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.serve)
        stream = await trio.open_unix_socket(path)
        await stream.send_all(b"GET")
        await stream.receive_some()
        nursery.cancel_scope.cancel()
    assert listener.statistics()["connections_open"] == 0
    with pytest.raises(OSError, match="refused"):
        await trio.open_unix_socket(path)
    await trio.aclose_forcefully(stream)
