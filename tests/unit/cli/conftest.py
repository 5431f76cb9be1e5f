"""A scripted agent on a Unix socket, in a thread: it answers as told and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import h11
import pytest

from tricorn.cli.main import main
from tricorn.errors import TricornError
from tricorn.frames import FROM_CLIENT, Frame, FrameDecoder, FrameKind, encode, encode_document


class Request:
    def __init__(self, event: h11.Request, body: bytes) -> None:
        self.method = event.method.decode()
        self.target = event.target.decode()
        self.headers = {name.decode(): value.decode() for name, value in event.headers}
        is_json = self.headers.get("content-type", "application/json") == "application/json"
        self.body = json.loads(body) if body and is_json else None
        self.data = body

    @property
    def line(self) -> str:
        return f"{self.method} {self.target}"


class Peer:
    """The agent's end of an upgraded connection."""

    def __init__(self, link: socket.socket, first: bytes) -> None:
        self.link = link
        self._decoder = FrameDecoder(FROM_CLIENT)
        self._frames = self._decoder.feed(first)

    def send(self, kind: FrameKind, payload: bytes | dict[str, Any] = b"") -> None:
        data = encode_document(kind, payload) if isinstance(payload, dict) else encode(kind, payload)
        self.link.sendall(data)

    def receive(self) -> Frame | None:
        while not self._frames:
            data = self.link.recv(65536)
            if not data:
                return None
            self._frames = self._decoder.feed(data)
        return self._frames.pop(0)

    def expect(self, kind: FrameKind) -> Frame:
        """Return the next frame of `kind`; resizes in between are skipped."""
        while (frame := self.receive()) is not None:
            if frame.kind is kind:
                return frame
            assert frame.kind is FrameKind.RESIZE, frame
        raise AssertionError(f"the client left instead of sending {kind.name}")


Script = Callable[[Peer], None]


class FakeAgent:
    def __init__(self, path: str) -> None:
        self.path = path
        self.requests: list[Request] = []
        self.failures: list[BaseException] = []
        self.connections = 0
        self.together: threading.Barrier | None = None  # no request is answered before so many are there
        self._answers: dict[str, tuple[int, str, bytes]] = {}
        self._sessions: dict[str, Script] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(16)
        self._threads: list[threading.Thread] = []
        self._links: list[socket.socket] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def answer(self, line: str, value: Any, status: int = 200) -> None:
        self._answers[line] = status, "application/json", json.dumps(value).encode()

    def listed(self, line: str, *items: Any) -> None:
        self.answer(line, {"items": list(items), "cursor": None})

    def stream(self, line: str, *lines: Any) -> None:
        text = b"".join(json.dumps(value).encode() + b"\n" for value in lines)
        self._answers[line] = 200, "application/x-ndjson", text

    def raw(self, line: str, body: bytes, status: int = 200) -> None:
        self._answers[line] = status, "application/octet-stream", body

    def refuse(self, line: str, error: TricornError) -> None:
        self._answers[line] = error.http, "application/problem+json", json.dumps(error.problem()).encode()

    def session(self, line: str, script: Script) -> None:
        self._sessions[line] = script

    @property
    def lines(self) -> list[str]:
        return [request.line for request in self.requests]

    def body(self, line: str) -> Any:
        return next(request.body for request in self.requests if request.line == line)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(60)
        for link in self._links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        for link in self._links:
            link.close()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._links.append(link)
            thread = threading.Thread(target=self._serve_noting, args=(link,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve_noting(self, link: socket.socket) -> None:
        try:
            self._serve(link)
        except (ConnectionError, BrokenPipeError):
            pass
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.failures.append(error)
        finally:
            link.close()

    def _serve(self, link: socket.socket) -> None:
        http = h11.Connection(h11.SERVER)
        while (request := self._read(link, http)) is not None:
            self.requests.append(request)
            if "upgrade" in request.headers and request.line in self._sessions:
                switch = h11.InformationalResponse(
                    status_code=101, headers=[("Connection", "Upgrade"), ("Upgrade", "tricorn-stdio/1")]
                )
                link.sendall(http.send(switch) or b"")
                self._sessions[request.line](Peer(link, bytes(http.trailing_data[0])))
                return
            self._reply(link, http, request)
            http.start_next_cycle()

    def _read(self, link: socket.socket, http: h11.Connection) -> Request | None:
        head, body = None, b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(link.recv(65536))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return Request(head, body)
            else:
                return None

    def _reply(self, link: socket.socket, http: h11.Connection, request: Request) -> None:
        missing = (
            404,
            "application/problem+json",
            json.dumps({"code": "NotFound", "what": f"{request.line} has no answer"}).encode(),
        )
        if self.together:
            self.together.wait(30)
        status, kind, body = self._answers.get(request.line, missing)
        head = h11.Response(
            status_code=status, headers=[("Content-Type", kind), ("Transfer-Encoding", "chunked")]
        )
        parts = [http.send(head), http.send(h11.Data(data=body)), http.send(h11.EndOfMessage())]
        link.sendall(b"".join(part or b"" for part in parts))


@pytest.fixture
def agent(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    fake = FakeAgent(str(tmp_path / "agent.sock"))
    monkeypatch.setenv("TRICORN_SOCKET", fake.path)
    monkeypatch.delenv("TRICORN_NAMESPACE", raising=False)
    yield fake
    fake.close()
    assert not fake.failures


class Outcome:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def tricorn(agent: FakeAgent, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run one command line in this process."""

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        status = main(list(arguments))
        sys.stdout.flush()
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture
def command() -> list[str]:
    """The argv of the command line as a process of its own."""
    return [sys.executable, "-m", "tricorn.cli"]


@pytest.fixture
def spawn(agent: FakeAgent, command: list[str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start one command line as a process; those that are left over are killed."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environment = {**os.environ, "TRICORN_SOCKET": agent.path, **options.pop("env", {})}
        process = subprocess.Popen([*command, *arguments], env=environment, **{**pipes, **options})
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(60)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
