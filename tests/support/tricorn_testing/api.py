"""Fake services for the API's tests, and a client that sees raw bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import h11
import trio

from tricorn.api.http.site import HttpApi
from tricorn.api.listen import Listener
from tricorn.errors import TricornError
from tricorn.model.copies import PathView
from tricorn.model.execs import ExecView
from tricorn.model.health import HealthStatus, HealthView
from tricorn.model.ids import Digest
from tricorn.model.policy import PolicyAnswer, PolicyView
from tricorn.model.records import (
    ContentInfo,
    Event,
    Lease,
    LeaseResource,
    Namespace,
    QuarantinedBlob,
    Snapshot,
    SnapshotKind,
    TaskStatus,
)
from tricorn.model.requests import (
    Action,
    Change,
    ContainerView,
    ExecResult,
    ExitView,
    GcExplanation,
    GcReport,
    ImageView,
    ImportResult,
    LayerView,
    LogLine,
    NamedImage,
    PushResult,
    TaskView,
)
from tricorn.model.scrubbing import BlobCheck, ScrubReport, ScrubStatus
from tricorn.model.usage import Budget, NamespaceUsage
from tricorn.ports import Capability, Exit, RuntimeInfo
from tricorn.rules.authorise import Peer

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
DIGEST = Digest.of(b"blob")
BLOB = b"blob" * 1000
ROOT = Peer(pid=1, uid=0, gid=0)


class Clock:
    def now(self) -> datetime:
        return NOW


def container(id: str = "web", **more: Any) -> ContainerView:
    task = TaskView(TaskStatus.RUNNING, pid=42, started_at=NOW)
    return ContainerView(
        id, "default", "docker.io/library/redis:7", str(DIGEST), "crun", "overlay", {"a": "b"}, task,
        created_at=NOW, **more,
    )  # fmt: skip


def image() -> ImageView:
    layer = LayerView(str(DIGEST), 9, "application/vnd.oci.image.layer.v1.tar+gzip")
    media = "application/vnd.oci.image.manifest.v1+json"
    return ImageView("docker.io/library/redis:7", str(DIGEST), media, 99, layers=(layer,), created_at=NOW)


CHANGE = Change(True, (Action("create", "container/web", "missing"),), {}, {"id": "web"})


class Fake:
    """One service: every method records its call, then raises what `fail` was told, or gives its answer."""

    def __init__(self, name: str, answers: Mapping[str, Any], world: World) -> None:
        self._name = name
        self._answers = answers
        self._world = world

    def __getattr__(self, method: str) -> Any:
        if method not in self._answers:
            raise AttributeError(method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._world.called(f"{self._name}.{method}", self._answers[method], args, kwargs)

        return call


class FakeStdio:
    """A process: echoes what it gets, ends when its stdin does."""

    pid = 77

    def __init__(self) -> None:
        self._send, self._output = trio.open_memory_channel[tuple[str, bytes]](100)
        self.ended = trio.Event()
        self.sizes: list[tuple[int, int]] = []
        self.signals: list[int] = []
        self.code = 0
        self.hold_output = False

    def __aiter__(self) -> AsyncIterator[tuple[str, bytes]]:
        return self._output.__aiter__()

    async def send(self, data: bytes) -> None:
        await self._send.send(("stdout", data))

    async def close_stdin(self) -> None:
        await self.end(self.code)

    async def end(self, code: int) -> None:
        self.code = code
        if not self.hold_output:
            await self._send.aclose()
        self.ended.set()

    async def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    async def wait(self) -> Exit:
        await self.ended.wait()
        return Exit(self.code, NOW)

    async def kill(self, signal: int) -> None:
        self.signals.append(signal)
        await self.end(128 + signal)


class World:
    """The fake services, what was called, and what shall happen."""

    def __init__(self, operations: Any, blob: str) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.failures: dict[str, Exception] = {}
        self.gates: dict[str, trio.Event] = {}
        self.cancelled: list[str] = []
        self.stdio = FakeStdio()
        self.stream_items: list[object] = []
        self.stream_hold: trio.Event | None = None
        self.ready = True
        self.left: list[str] = []
        self.services: Any = self._services(operations, blob)

    async def called(self, name: str, answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls.append((name, args, kwargs))
        await trio.lowlevel.checkpoint()
        if name in self.gates:
            try:
                await self.gates[name].wait()
            except trio.Cancelled:
                self.cancelled.append(name)
                raise
        if name in self.failures:
            raise self.failures[name]
        report = kwargs.get("report")
        if report is not None:
            report.report("downloading", offset=1, total=2)
        return answer

    @asynccontextmanager
    async def session(self, *args: Any, **kwargs: Any) -> AsyncIterator[FakeStdio]:
        name = "tasks.attach" if "start" in kwargs else "tasks.exec_session"
        name = "execs.attach" if "replay" in kwargs else name
        self.calls.append((name, args, kwargs))
        if name in self.failures:
            raise self.failures[name]
        try:
            yield self.stdio
        finally:
            self.left.append(name)

    async def write(self, plan: Any, write: Any, reporter: Any = None) -> None:
        """What an archive's writer does: `stream_items` are its parts."""
        self.calls.append(("transfer.write", (plan,), {}))
        for item in self.stream_items:
            if isinstance(item, Exception):
                raise item
            await write(item if isinstance(item, bytes) else b"tar")
        self.left.append("write")

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        self.calls.append(("stream", args, kwargs))
        if "stream" in self.failures:
            raise self.failures["stream"]
        try:
            for item in self.stream_items:
                if isinstance(item, TricornError):
                    raise item
                yield item
            if self.stream_hold is not None:
                await self.stream_hold.wait()
        finally:
            self.left.append("stream")

    def _services(self, operations: Any, blob: str) -> Any:
        page = SimpleNamespace(items=(EVENT,), cursor=7, lost=0)
        tables: dict[str, dict[str, Any]] = {
            "node": {"version": VERSION, "info": INFO},
            "namespaces": {
                "list": [Namespace("default")], "get": Namespace("default", {"a": "b"}, NOW), "put": CHANGE,
                "update": Namespace("default"), "delete": CHANGE,
            },
            "images": {
                "list": [image()], "get": image(), "put": CHANGE, "delete": CHANGE, "tag": image(),
            },
            "transfer": {
                "find": NAMED, "push_as": PushResult("docker.io/library/redis:7", str(DIGEST)),
                "plan_archive": SimpleNamespace(), "load_archive": ImportResult((NAMED,)),
            },
            "image_states": {"tagged": CHANGE, "pushed": CHANGE},
            "archive_files": {"exported": CHANGE, "imported": CHANGE},
            "lease_states": {"put": CHANGE, "absent": CHANGE},
            "snapshot_states": {"put": CHANGE},
            "containers": {
                "list": [container()], "get": container(spec={"ociVersion": "1.1.0"}), "put": CHANGE,
                "create": container(), "delete": CHANGE,
            },
            "health": {"wait_healthy": HealthView(HealthStatus.HEALTHY), "get": HealthView(HealthStatus.STARTING)},
            "tasks": {
                "start": container(), "stop": container(), "kill": None, "pause": container(), "resume": container(),
                "wait": ExitView(3, NOW), "exec": ExecResult(0, "PONG\n"), "resize": None,
                "stats": {"cpu_seconds": 1.5}, "pids": [42, 43],
            },
            "execs": {
                "start": EXEC, "list": [EXEC], "get": EXEC, "wait": ExitView(3, NOW), "kill": None, "resize": None,
                "close_stdin": None, "remove": None,
            },
            "node_states": {"put": CHANGE},
            "copies": {
                "look": PathView("/etc/hosts", "file", 0o644, 0, 0, 4), "put": CHANGE, "copy": CHANGE, "place": CHANGE,
            },
            "content": {"list": [INFO_OF_BLOB], "info": INFO_OF_BLOB, "open": (blob, len(BLOB)), "delete": None},
            "snapshots": {"list": [SNAPSHOT], "get": SNAPSHOT, "delete": None},
            "leases": {
                "list": [Lease("l1")], "create": Lease("l1", {}, NOW), "get": Lease("l1", {}, NOW), "delete": None,
                "resources": [LeaseResource("content", str(DIGEST))], "add_resource": None, "remove_resource": None,
            },
            "scrub": {
                "status": SCRUBBING, "scrub": ScrubReport(1, 4, (DAMAGED,)), "quarantined": [DAMAGED],
                "fetch": DAMAGED, "release": DAMAGED, "check_of": BlobCheck(DIGEST, 4, NOW),
            },
            "usage": {"of": NamespaceUsage("default", 4, 4, budget=Budget(bytes=9))},
            "gc": {
                "collect": GcReport(True, ({"namespace": "default", "type": "content", "key": str(DIGEST)},), 4),
                "explain": GcExplanation("container/web", True, ("container/web",)),
            },
            "events": {"page": page, "next_page": page},
            "policy": {"view": PolicyView("off"), "check": PolicyAnswer("r", allowed=True, rule="", reason="-")},
        }  # fmt: skip
        services = {name: Fake(name, table, self) for name, table in tables.items()}
        services["tasks"].exec_session = self.session  # type: ignore[method-assign]
        services["tasks"].attach = self.session  # type: ignore[method-assign]
        services["tasks"].logs = self.stream  # type: ignore[method-assign]
        services["execs"].attach = self.session  # type: ignore[method-assign]
        services["execs"].logs = self.stream  # type: ignore[method-assign]
        services["transfer"].exporter = SimpleNamespace(write=self.write)
        services["events"].stream = self.stream  # type: ignore[method-assign]
        return SimpleNamespace(operations=operations, **services)

    def last(self, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        found = [(args, kwargs) for called, args, kwargs in self.calls if called == name]
        assert found, f"{name} was never called, only {[call[0] for call in self.calls]}"
        return found[-1]


NAMED = NamedImage("docker.io/library/redis:7", str(DIGEST), "application/vnd.oci.image.index.v1+json")
VERSION = {"version": "0.1.0", "api": "1", "python": "3.11", "revision": "abc"}
INFO = {
    "version": "0.1.0", "root": "/r", "state": "/s", "namespaces": ["default"],
    "runtimes": [RuntimeInfo("crun", "/usr/bin/crun")], "snapshotters": [{"name": "overlay"}],
    "capabilities": [Capability("criu", available=False, reason="no binary")], "kernel": "6.1",
    "cgroup": {"version": 2}, "uptime_seconds": 1.5, "statistics": {"x": 1},
}  # fmt: skip
DAMAGED = QuarantinedBlob(DIGEST, 4, "its bytes hash to sha256:0", "sha256-1", ("default",), found_at=NOW)
SCRUBBING = ScrubStatus(True, 60.0, 1 << 20, False, 3, 1, NOW, 1, 1)
INFO_OF_BLOB = ContentInfo(DIGEST, len(BLOB), created_at=NOW)
SNAPSHOT = Snapshot("overlay", "sha256:key", SnapshotKind.COMMITTED, "secret-directory", created_at=NOW)
EVENT = Event(7, NOW, "default", "/containers/create", {"id": "web"})
EXEC = ExecView(
    "e1", "web", TaskStatus.RUNNING, pid=77, args=("sh",), terminal=True, stdin=True, started_at=NOW
)
LOG = LogLine("2026-01-31T12:00:00.000000001Z", "stdout", "hello")


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


class Client:
    """One connection; requests one after the other, or raw bytes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def send(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a request without waiting for its answer."""
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Host": "tricorn", **(headers or {})}
        if data or method in {"PUT", "POST", "PATCH"}:
            fields["Content-Length"] = str(len(data))
        request = h11.Request(method=method, target=target, headers=list(fields.items()))
        wire = self._http.send(request) or b""
        wire += self._http.send(h11.Data(data=data)) or b"" if data else b""
        await self.stream.send_all(wire + (self._http.send(h11.EndOfMessage()) or b""))

    async def event(self) -> Any:
        """Return the next h11 event of the answer."""
        with trio.fail_after(60):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(bytes(await self.stream.receive_some(65536)))
        return event

    async def receive(self) -> Answer:
        head = await self.event()
        body = b""
        while isinstance(event := await self.event(), h11.Data):
            body += bytes(event.data)
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return Answer(head.status_code, headers, body)

    async def request(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        await self.send(method, target, body, headers)
        return await self.receive()

    async def upgrade(self, method: str, target: str) -> int:
        """Ask for the frame protocol and return the status; then `stream` speaks frames."""
        await self.send(method, target, headers={"Connection": "Upgrade", "Upgrade": "tricorn-stdio/1"})
        head = await self.event()
        return int(head.status_code)

    @property
    def trailing(self) -> bytes:
        return bytes(self._http.trailing_data[0])

    async def rest(self) -> bytes:
        """Return all raw bytes until the server closes."""
        data = b""
        with trio.fail_after(60):
            try:
                while more := await self.stream.receive_some(65536):
                    data += bytes(more)
            except trio.BrokenResourceError:
                pass
        return data


class Server:
    """The running server of one test."""

    def __init__(self, path: str, api: HttpApi, listener: Listener, world: World) -> None:
        self.path = path
        self.api = api
        self.listener = listener
        self.world = world
        self._clients: list[trio.SocketStream] = []

    async def connect(self) -> Client:
        stream = await trio.open_unix_socket(self.path)
        self._clients.append(stream)
        return Client(stream)

    async def request(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        client = await self.connect()
        try:
            return await client.request(method, target, body, headers)
        finally:
            await client.stream.aclose()

    async def quiet(self) -> None:
        """Wait until no connection is left."""
        with trio.fail_after(60):
            while self.listener.statistics()["connections_open"]:  # noqa: ASYNC110 - it has no event for that
                await trio.sleep(0.005)

    async def close_clients(self) -> None:
        for stream in self._clients:
            await trio.aclose_forcefully(stream)
