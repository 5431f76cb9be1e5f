"""Exec and attach over the frame protocol, both ways."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition
from tricorn.frames import FROM_AGENT, Frame, FrameDecoder, FrameKind, encode, encode_document
from tricorn_testing.api import Client, Server

EXEC = "/v1/default/containers/web/exec"
ATTACH = "/v1/default/containers/web/attach"
REQUEST = {"args": ["cat"], "terminal": True}


class Frames:
    """The client's side of an upgraded connection."""

    def __init__(self, client: Client) -> None:
        self._stream = client.stream
        self._decoder = FrameDecoder(FROM_AGENT)
        self._frames = self._decoder.feed(client.trailing)

    async def next(self) -> Frame | None:
        with trio.fail_after(60):
            while not self._frames:
                data = await self._stream.receive_some(65536)
                if not data:
                    return None
                self._frames.extend(self._decoder.feed(bytes(data)))
        return self._frames.pop(0)

    async def send(self, kind: FrameKind, payload: bytes | dict[str, Any] = b"") -> None:
        data = encode(kind, payload) if isinstance(payload, bytes) else encode_document(kind, payload)
        await self._stream.send_all(data)


async def opened(server: Server, method: str = "POST", target: str = EXEC) -> Frames:
    client = await server.connect()
    assert await client.upgrade(method, target) == 101
    return Frames(client)


async def running_exec(server: Server) -> Frames:
    frames = await opened(server)
    await frames.send(FrameKind.EXEC, REQUEST)
    assert await frames.next() == Frame(FrameKind.STARTED, b'{"pid":77}')
    return frames


async def test_exec_whole(server: Server) -> None:
    frames = await running_exec(server)
    assert server.world.last("tasks.exec_session")[0][2].args == ("cat",)
    await frames.send(FrameKind.RESIZE, {"rows": 40, "columns": 120})
    await frames.send(FrameKind.STDIN, b"hello")
    assert await frames.next() == Frame(FrameKind.STDOUT, b"hello")
    server.world.stdio.code = 3
    await frames.send(FrameKind.STDIN_CLOSED)
    end = await frames.next()
    assert end is not None
    assert end.kind is FrameKind.EXIT
    assert end.document()["exit_code"] == 3
    assert await frames.next() is None
    assert server.world.stdio.sizes == [(40, 120)]
    assert server.world.left == ["tasks.exec_session"]


async def test_request_frame_in_the_same_piece_as_the_head(server: Server) -> None:
    client = await server.connect()
    head = f"POST {EXEC} HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: tricorn-stdio/1\r\nContent-Length: 0\r\n\r\n"
    await client.stream.send_all(head.encode() + encode_document(FrameKind.EXEC, REQUEST))
    data = b""
    with trio.fail_after(60):
        while b'{"pid":77}' not in data:
            data += bytes(await client.stream.receive_some())
    assert data.startswith(b"HTTP/1.1 101 ")


async def test_large_output_is_cut_into_frames(server: Server) -> None:
    frames = await running_exec(server)
    await server.world.stdio.send(b"x" * (2 * limits.FRAME_SIZE + 5))
    sizes = [len(frame.payload) for _ in range(3) if (frame := await frames.next())]
    assert sizes == [limits.FRAME_SIZE, limits.FRAME_SIZE, 5]


async def test_signal_goes_to_the_process(server: Server) -> None:
    frames = await running_exec(server)
    await frames.send(FrameKind.SIGNAL, {"signal": "SIGINT"})
    end = await frames.next()
    assert end is not None
    assert end.document()["exit_code"] == 130
    assert server.world.stdio.signals == [2]


async def test_output_held_open_after_the_exit(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXEC_DRAIN", 0.1)
    server.world.stdio.hold_output = True
    frames = await running_exec(server)
    await frames.send(FrameKind.STDIN_CLOSED)
    end = await frames.next()
    assert end is not None
    assert end.kind is FrameKind.EXIT


async def test_timeout_kills(server: Server) -> None:
    frames = await opened(server)
    await frames.send(FrameKind.EXEC, {**REQUEST, "timeout": 0.05})
    await frames.next()
    end = await frames.next()
    assert end is not None
    assert end.document()["exit_code"] == 124
    assert end.document()["note"] == "killed after 0.05 seconds"
    assert server.world.stdio.signals == [9]


async def test_leaving_ends_the_session(server: Server) -> None:
    client = await server.connect()
    assert await client.upgrade("POST", EXEC) == 101
    await client.stream.send_all(encode_document(FrameKind.EXEC, REQUEST))
    await Frames(client).next()
    await client.stream.aclose()
    await server.quiet()
    assert server.world.left == ["tasks.exec_session"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encode(FrameKind.STDIN, b"x"), "InvalidArgument"),  # not the request
        (encode(FrameKind.EXEC, b"{"), "InvalidArgument"),
        (encode(FrameKind.EXEC, b"[]"), "InvalidArgument"),
        (encode(FrameKind.EXEC, b'{"args": ["a"], "argv": 1}'), "InvalidArgument"),
        (encode(FrameKind.STDOUT, b"x"), "InvalidArgument"),  # the other side's
        (b"\x63\0\0\0\0", "InvalidArgument"),  # unknown
        (b"\0\xff\xff\xff\xff", "ResourceExhausted"),
        (encode_document(FrameKind.EXEC, REQUEST) + b"\x63\0\0\0\0", "InvalidArgument"),
        (encode_document(FrameKind.EXEC, REQUEST) * 2, "InvalidArgument"),
        (encode_document(FrameKind.EXEC, REQUEST) + encode(FrameKind.SIGNAL, b'{"signal":"SIGNO"}'), "InvalidArgument"),
        (encode_document(FrameKind.EXEC, REQUEST) + encode(FrameKind.RESIZE, b'{"rows":"1"}'), "InvalidArgument"),
    ],
)  # fmt: skip
async def test_malformed_frames_end_the_session_with_an_error(server: Server, data: bytes, code: str) -> None:
    client = await server.connect()
    assert await client.upgrade("POST", EXEC) == 101
    frames = Frames(client)
    await client.stream.send_all(data)
    last = None
    while frame := await frames.next():
        last = frame
    assert last is not None
    assert last.kind is FrameKind.ERROR
    assert last.document()["code"] == code
    await server.quiet()


async def test_error_of_the_service_is_a_frame(server: Server) -> None:
    server.world.failures["tasks.exec_session"] = FailedPrecondition("it is paused")
    frames = await opened(server)
    await frames.send(FrameKind.EXEC, REQUEST)
    last = await frames.next()
    assert last is not None
    assert json.loads(last.payload)["what"] == "it is paused"


@pytest.mark.parametrize(
    ("error", "code"),
    [(OSError(errno.EMFILE, "Too many open files"), "ResourceExhausted"), (ValueError("secret"), "Internal")],
)
async def test_an_unforeseen_end_is_a_frame_as_well(server: Server, error: Exception, code: str) -> None:
    server.world.failures["tasks.exec_session"] = error
    frames = await opened(server)
    await frames.send(FrameKind.EXEC, REQUEST)
    last = await frames.next()
    assert last is not None
    assert json.loads(last.payload)["code"] == code
    assert b"secret" not in last.payload
    assert await frames.next() is None


# ---------------------------------------------------------------- attach
async def test_attach(server: Server) -> None:
    frames = await opened(server, "GET", f"{ATTACH}?start=true")
    assert server.world.last("tasks.attach")[1] == {"start": True}
    assert await frames.next() == Frame(FrameKind.STARTED, b'{"pid":42}')
    await server.world.stdio.send(b"out")
    assert await frames.next() == Frame(FrameKind.STDOUT, b"out")
    await server.world.stdio.end(0)
    end = await frames.next()
    assert end is not None
    assert end.document()["exit_code"] == 3


async def test_attach_error_before_the_switch_is_a_problem(server: Server) -> None:
    server.world.failures["tasks.attach"] = FailedPrecondition("not running")
    client = await server.connect()
    await client.send("GET", ATTACH, headers={"Connection": "Upgrade", "Upgrade": "tricorn-stdio/1"})
    answer = await client.receive()
    assert answer.status == 412


async def test_attach_signal_is_the_containers(server: Server) -> None:
    server.world.gates["tasks.wait"] = trio.Event()
    frames = await opened(server, "GET", ATTACH)
    await frames.next()
    await frames.send(FrameKind.SIGNAL, {"signal": "SIGHUP"})
    with trio.fail_after(60):
        while not any(name == "tasks.kill" for name, _, _ in server.world.calls):  # noqa: ASYNC110
            await trio.sleep(0.005)
    assert server.world.last("tasks.kill")[0][2].signal == "SIGHUP"


async def test_an_exec_that_goes_on_is_joined_and_left(server: Server) -> None:
    server.world.gates["execs.wait"] = trio.Event()
    client = await server.connect()
    assert await client.upgrade("GET", "/v1/default/containers/web/execs/e1/attach?replay=true") == 101
    frames = Frames(client)
    assert await frames.next() == Frame(FrameKind.STARTED, b'{"pid":77}')
    assert server.world.last("execs.attach") == (("default", "web", "e1"), {"replay": True})
    await frames.send(FrameKind.STDIN, b"hello")
    assert await frames.next() == Frame(FrameKind.STDOUT, b"hello")
    await frames.send(FrameKind.SIGNAL, {"signal": "SIGINT"})
    await frames.send(FrameKind.STDIN, b"more")
    assert await frames.next() == Frame(FrameKind.STDOUT, b"more")
    assert server.world.last("execs.kill")[0][3].signal == "SIGINT"
    await client.stream.aclose()
    await server.quiet()
    assert server.world.left == ["execs.attach"]
    assert not server.world.stdio.ended.is_set()  # its input is open still


async def test_stop_detaches_with_a_frame(server: Server) -> None:
    server.world.gates["tasks.wait"] = trio.Event()
    frames = await opened(server, "GET", ATTACH)
    await frames.next()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listener.stop, 30.0)
        last = await frames.next()
    assert last is not None
    assert last.document()["code"] == "Unavailable"
    assert server.world.left == ["tasks.attach"]


async def test_stop_gives_execs_their_grace(server: Server) -> None:
    frames = await running_exec(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listener.stop, 5.0)
        await trio.sleep(0.05)
        await frames.send(FrameKind.STDIN_CLOSED)
        end = await frames.next()
    assert end is not None
    assert end.kind is FrameKind.EXIT
