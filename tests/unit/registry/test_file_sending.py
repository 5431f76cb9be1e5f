"""Files go to sockets whole and in order, whatever the socket takes at a time, copied or not."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tricorn.registry import file_sending
from tricorn.registry.streams import PlainStream

CONTENT = os.urandom(3_000_001)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "blob").write_bytes(CONTENT)
    number = os.open(tmp_path / "blob", os.O_RDONLY)
    yield number
    os.close(number)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection; the first doesn't block, and takes little."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
        yield ours, theirs


@pytest.mark.parametrize("local", [False, True])
def test_a_range_goes_out_whole(
    descriptor: int, ends: tuple[socket.socket, socket.socket], local: bool
) -> None:
    ours, theirs = ends
    got = bytearray()

    def receive() -> None:
        while data := theirs.recv(77_777):
            got.extend(data)

    reader = threading.Thread(target=receive)
    reader.start()
    take = file_sending.taker(ours.fileno(), descriptor, local=local)
    offset = 1001
    while offset < len(CONTENT) - 10:
        offset += file_sending.send(ours.fileno(), take, offset, len(CONTENT) - 10 - offset) or 0
    ours.close()
    reader.join(60)
    assert got == CONTENT[1001:-10]


@pytest.mark.parametrize("local", [False, True])
def test_a_file_may_end_before_its_range(
    descriptor: int, ends: tuple[socket.socket, socket.socket], local: bool
) -> None:
    ours, theirs = ends
    take = file_sending.taker(ours.fileno(), descriptor, local=local)
    assert file_sending.send(ours.fileno(), take, len(CONTENT) - 5, 100) == 5
    take = file_sending.taker(ours.fileno(), descriptor, local=local)
    assert not file_sending.send(ours.fileno(), take, len(CONTENT), 100)
    assert theirs.recv(100) == CONTENT[-5:]


@pytest.mark.parametrize("local", [False, True])
def test_who_takes_nothing_holds_up_one_turn(
    descriptor: int, ends: tuple[socket.socket, socket.socket], local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = ends
    monkeypatch.setattr(file_sending, "_TURN", 0.05)
    take = file_sending.taker(ours.fileno(), descriptor, local=local)
    sent = file_sending.send(ours.fileno(), take, 0, len(CONTENT))
    assert sent is not None
    assert 0 < sent < len(CONTENT)
    assert file_sending.send(ours.fileno(), take, sent, len(CONTENT) - sent) is None


@pytest.mark.parametrize(("address", "copied"), [("127.0.0.1", True), ("127.0.0.2", False)])
async def test_receivers_on_this_machine_get_copies(
    descriptor: int, address: str, copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.2 stands for another machine: who connects there does so from 127.0.0.1."""
    uncopied: list[int] = []
    sendfile = os.sendfile

    def noted(*arguments: int) -> int:
        uncopied.append(arguments[0])
        return sendfile(*arguments)

    monkeypatch.setattr(os, "sendfile", noted)
    (listener,) = await trio.open_tcp_listeners(0, host=address)
    async with listener:
        stream = PlainStream(await trio.open_tcp_stream(*listener.socket.getsockname()))
        async with await listener.accept() as server:
            assert await stream.send_file(descriptor, 0, 1000) == 1000
            assert await server.receive_some() == CONTENT[:1000]
        stream.close()
    assert bool(uncopied) is not copied
