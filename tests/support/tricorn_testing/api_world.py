"""Fake services for the API's tests: they record their calls, and do what the test has told them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import trio

from tricorn.errors import TricornError
from tricorn.model.copies import PathView
from tricorn.model.health import HealthStatus, HealthView
from tricorn.model.policy import PolicyAnswer, PolicyView
from tricorn.model.records import (
    Lease,
    LeaseResource,
    Namespace,
)
from tricorn.model.requests import (
    ExecResult,
    ExitView,
    GcExplanation,
    GcReport,
    ImportResult,
    PushResult,
)
from tricorn.model.scrubbing import BlobCheck, ScrubReport
from tricorn.model.usage import Budget, NamespaceUsage
from tricorn.ports import Exit
from tricorn_testing.api_values import (
    BLOB,
    CHANGE,
    DAMAGED,
    DIGEST,
    EVENT,
    EXEC,
    INFO,
    INFO_OF_BLOB,
    NAMED,
    NOW,
    SCRUBBING,
    SNAPSHOT,
    VERSION,
    container,
    image,
)


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
                "start": container(), "stop": container(), "restart": container(), "kill": None, "pause": container(), "resume": container(),
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
            "content": {
                "list": [INFO_OF_BLOB], "info": INFO_OF_BLOB, "open": (blob, len(BLOB)), "put": CHANGE, "delete": None,
            },
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
