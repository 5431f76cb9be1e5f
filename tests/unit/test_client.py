"""The Trio client against a scripted agent: reuse, streams, sessions, cancellation, errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h11
import pytest
import trio
import trio.testing

from tricorn import errors
from tricorn.client import Client
from tricorn.client.api import Lost
from tricorn.frames import FROM_CLIENT, Frame, FrameDecoder, FrameKind, encode, encode_document
from tricorn.model.records import Event, Lease, SnapshotKind
from tricorn.model.requests import (
    ArchiveExport,
    ArchiveImport,
    Change,
    ContainerDesired,
    ContainerView,
    ExecRequest,
    ImageDesired,
    ImagePush,
    ImageTags,
    LeaseDesired,
    Mount,
    Resources,
    SnapshotDesired,
)

DIGEST = "sha256:" + "ab" * 32
NOW = "2026-01-31T12:00:00.5+00:00"
Handler = Callable[["Link"], Awaitable[None]]


class Link:
    """The agent's end of one connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.SERVER)
        self.line = ""
        self.headers: dict[str, str] = {}
        self.body: Any = None

    async def read(self) -> bool:
        """Read one request; False when the client left."""
        data = b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(await self.stream.receive_some())
            elif isinstance(event, h11.Request):
                self.line = f"{event.method.decode()} {event.target.decode()}"
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                data += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.body = json.loads(data) if data else None
                return True
            else:
                return False

    async def send(self, *events: Any) -> None:
        await self.stream.send_all(b"".join(self.http.send(event) or b"" for event in events))

    async def begin(self, status: int = 200) -> None:
        await self.send(h11.Response(status_code=status, headers=[("Transfer-Encoding", "chunked")]))

    async def lines(self, *values: Any) -> None:
        await self.send(h11.Data(data=b"".join(json.dumps(value).encode() + b"\n" for value in values)))

    async def finish(self) -> None:
        await self.send(h11.EndOfMessage())

    async def answer(self, value: Any, status: int = 200) -> None:
        await self.begin(status)
        await self.send(h11.Data(data=json.dumps(value).encode()))
        await self.finish()

    async def gone(self) -> None:
        """Wait until the client has left."""
        with suppress(trio.BrokenResourceError):
            assert await self.stream.receive_some() == b""

    async def switch(self) -> None:
        headers = [("Connection", "Upgrade"), ("Upgrade", "tricorn-stdio/1")]
        await self.send(h11.InformationalResponse(status_code=101, headers=headers))
        self.decoder = FrameDecoder(FROM_CLIENT)
        self.frames = self.decoder.feed(bytes(self.http.trailing_data[0]))

    async def frame(self) -> Frame | None:
        while not self.frames:
            data = await self.stream.receive_some()
            if not data:
                return None
            self.frames = self.decoder.feed(data)
        return self.frames.pop(0)

    async def say(self, kind: FrameKind, payload: bytes | dict[str, Any] = b"") -> None:
        data = encode_document(kind, payload) if isinstance(payload, dict) else encode(kind, payload)
        await self.stream.send_all(data)


class Agent:
    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[str] = []
        self.bodies: list[Any] = []
        self.connections = 0
        self.handlers: dict[str, Handler] = {}

    def answer(self, line: str, value: Any, status: int = 200) -> None:
        async def handler(link: Link) -> None:
            await link.answer(value, status)

        self.handlers[line] = handler

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        link = Link(stream)
        async with stream:
            try:
                while await link.read():
                    self.lines.append(link.line)
                    self.bodies.append(link.body)
                    await self.handlers[link.line](link)
                    if link.http.our_state is not h11.DONE:
                        return
                    link.http.start_next_cycle()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Agent]:
    agent = Agent(str(path / "agent.sock"))
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(agent.path)
    listening.listen(32)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, agent.serve, [trio.SocketListener(listening)])
            yield agent
            nursery.cancel_scope.cancel()


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with running(tmp_path) as made:
        yield made


@pytest.fixture
async def client(agent: Agent) -> AsyncIterator[Client]:
    async with Client(agent.path) as made:
        yield made


def view(id: str = "web", **fields: Any) -> dict[str, Any]:
    known = {
        "id": id,
        "namespace": "default",
        "image": "a",
        "image_digest": DIGEST,
        "runtime": "crun",
        "snapshotter": "overlay",
    }
    return {**known, **fields}


# ---------------------------------------------------------------- values
async def test_values_are_the_models(agent: Agent, client: Client) -> None:
    task = {"status": "running", "pid": 7, "started_at": NOW}
    agent.answer(
        "GET /v1/default/containers?all=true", {"items": [view(task=task, new_field=1)], "cursor": None}
    )
    (found,) = await client.containers.list()
    assert isinstance(found, ContainerView)
    assert found.task is not None
    assert found.task.status == "running"
    assert found.task.started_at == datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)


async def test_requests_hold_the_whole_value(agent: Agent, client: Client) -> None:
    agent.answer(
        "PUT /v1/default/containers/web?plan=true",
        {"changed": True, "actions": [{"verb": "pull", "object": "a"}]},
    )
    desired = ContainerDesired(image="a", args=("x",), mounts=(Mount("/t"),), resources=Resources(memory=5))
    change = await client.containers.put("web", desired, plan=True)
    assert isinstance(change, Change)
    assert change.actions[0].verb == "pull"
    (body,) = agent.bodies
    assert body["mounts"] == [{"target": "/t", "source": "", "type": "bind", "options": []}]
    assert body["resources"]["memory"] == 5
    assert body["args"] == ["x"]
    from tricorn.structuring import structure

    assert structure(body, ContainerDesired) == desired


async def test_every_row(agent: Agent, client: Client) -> None:
    """Each method asks for its row of the API and understands the answer."""
    ns = {"name": "a"}
    image = {"name": "a", "digest": DIGEST, "media_type": "m", "size": 1}
    blob = {"digest": DIGEST, "size": 3}
    snapshot = {"snapshotter": "overlay", "key": "k", "kind": "active", "backend_id": "1"}
    operation = {"id": "1", "namespace": "default", "kind": "pull", "object": "a", "state": "running"}
    report, explanation = {"dry_run": True}, {"object": "image/a", "kept": True, "chain": ["image/a"]}
    changed, coded = {"changed": True}, DIGEST.replace(":", "%3A")
    desired = ImageDesired("a")
    answered = {"reference": "a", "allowed": True, "rule": "", "reason": "there is no image policy"}
    rows: list[tuple[str, Any, Callable[[], Awaitable[Any]]]] = [
        ("GET /healthz", {"status": "ok"}, client.healthy),
        ("GET /v1/version", {"version": "1"}, client.version),
        ("GET /v1/info", {"version": "1"}, client.info),
        ("POST /v1/gc?dry_run=true", report, lambda: client.collect(dry_run=True)),
        ("GET /v1/default/gc/explain?object=image%2Fa", explanation, lambda: client.explain("image/a")),
        ("GET /v1/namespaces", {"items": [ns]}, client.namespaces.list),
        ("GET /v1/namespaces/a", ns, lambda: client.namespaces.get("a")),
        ("PUT /v1/namespaces/a", changed, lambda: client.namespaces.put("a")),
        ("PATCH /v1/namespaces/a", ns, lambda: client.namespaces.update("a", {"x": ""})),
        ("DELETE /v1/namespaces/a", changed, lambda: client.namespaces.delete("a")),
        ("GET /v1/default/images", {"items": [image]}, client.images.list),
        ("GET /v1/default/images/a%2Fb", image, lambda: client.images.get("a/b")),
        ("PUT /v1/default/images", changed, lambda: client.images.put(desired)),
        (
            "PUT /v1/default/images/a/tags?plan=true",
            changed,
            lambda: client.images.tagged("a", ImageTags(("b",)), plan=True),
        ),
        ("PUT /v1/default/images/a/push", changed, lambda: client.images.pushed("a", ImagePush("b"))),
        ("PUT /v1/default/archive/export", changed, lambda: client.images.exported(ArchiveExport("/a", ("a",)))),
        ("PUT /v1/default/archive/import", changed, lambda: client.images.imported(ArchiveImport("/a"))),
        (
            "PUT /v1/default/snapshots/overlayfs/a?plan=true",
            changed,
            lambda: client.snapshots.put("overlayfs", "a", SnapshotDesired(), plan=True),
        ),
        ("PUT /v1/default/leases/keep", changed, lambda: client.leases.put("keep", LeaseDesired())),
        ("PUT /v1/default/images", operation, lambda: client.images.begin(desired)),
        ("DELETE /v1/default/images/a?sync=true", changed, lambda: client.images.delete("a", sync=True)),
        ("GET /v1/default/containers/web", view(), lambda: client.containers.get("web")),
        ("POST /v1/default/containers", view(), lambda: client.containers.create(ContainerDesired("a"), name="web")),
        ("PUT /v1/default/containers/web", operation, lambda: client.containers.begin("web", ContainerDesired("a"))),
        ("DELETE /v1/default/containers/web?force=true", changed, lambda: client.containers.delete("web", force=True)),
        ("POST /v1/default/containers/web/start", view(), lambda: client.containers.start("web")),
        ("POST /v1/default/containers/web/stop", view(), lambda: client.containers.stop("web", timeout=1)),
        ("POST /v1/default/containers/web/pause", view(), lambda: client.containers.pause("web")),
        ("POST /v1/default/containers/web/resume", view(), lambda: client.containers.resume("web")),
        ("POST /v1/default/containers/web/kill", {}, lambda: client.containers.kill("web")),
        ("POST /v1/default/containers/web/resize", {}, lambda: client.containers.resize("web", 1, 2)),
        ("GET /v1/default/containers/web/wait?condition=stopped", {"exit_code": 1}, lambda: client.containers.wait("web")),
        ("POST /v1/default/containers/web/exec", {"exit_code": 1}, lambda: client.containers.exec("web", ExecRequest(("a",)))),
        ("GET /v1/default/containers/web/stats", {"pids": 1}, lambda: client.containers.stats("web")),
        ("GET /v1/default/containers/web/pids", {"pids": [1, 2]}, lambda: client.containers.pids("web")),
        ("GET /v1/default/content", {"items": [blob]}, client.content.list),
        (f"GET /v1/default/content/{coded}", blob, lambda: client.content.get(DIGEST)),
        (f"DELETE /v1/default/content/{coded}", {}, lambda: client.content.delete(DIGEST)),
        ("GET /v1/default/snapshots?snapshotter=overlay", {"items": [snapshot]}, lambda: client.snapshots.list("overlay")),
        ("GET /v1/default/snapshots/overlay/k", snapshot, lambda: client.snapshots.get("overlay", "k")),
        ("DELETE /v1/default/snapshots/overlay/k", {}, lambda: client.snapshots.delete("overlay", "k")),
        ("GET /v1/default/leases", {"items": [{"id": "l"}]}, client.leases.list),
        ("POST /v1/default/leases", {"id": "l"}, lambda: client.leases.create("l", expire_seconds=1)),
        ("DELETE /v1/default/leases/l", {}, lambda: client.leases.delete("l")),
        ("GET /v1/default/operations", {"items": [operation]}, client.operations.list),
        ("GET /v1/default/operations/1", operation, lambda: client.operations.get("1")),
        ("DELETE /v1/default/operations/1", {}, lambda: client.operations.cancel("1")),
        ("GET /v1/policy", {"state": "off"}, client.policy.view),
        ("POST /v1/default/policy/check", answered, lambda: client.policy.check("a")),
    ]  # fmt: skip
    answers = []
    for line, answer, method in rows:
        agent.answer(line, answer)
        answers.append(await method())
    assert agent.lines == [line for line, _, _ in rows]
    assert agent.connections == 1
    by_line = dict(zip(agent.lines, answers, strict=True))
    assert by_line["GET /v1/default/containers/web/pids"] == [1, 2]
    assert by_line["POST /v1/default/leases"] == Lease("l")
    assert by_line["GET /v1/default/snapshots/overlay/k"].kind is SnapshotKind.ACTIVE
    assert type(by_line[f"GET /v1/default/content/{coded}"].digest).__name__ == "Digest"


async def test_metrics_are_text(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        await link.send(h11.Data(data=b"# HELP x\nx 1\n"))
        await link.finish()

    agent.handlers["GET /metrics"] = handler
    assert await client.metrics() == "# HELP x\nx 1\n"


async def test_another_namespace_over_the_same_connections(agent: Agent, client: Client) -> None:
    agent.answer("GET /v1/default/leases", {"items": []})
    agent.answer("GET /v1/build/leases", {"items": []})
    await client.leases.list()
    await client.within("build").leases.list()
    assert agent.connections == 1


async def test_the_environment_names_the_agent(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICORN_SOCKET", agent.path)
    monkeypatch.setenv("TRICORN_NAMESPACE", "build")
    agent.answer("GET /v1/build/leases", {"items": []})
    async with Client() as client:
        assert await client.leases.list() == []


# ---------------------------------------------------------------- errors
async def test_errors_are_rebuilt(agent: Agent, client: Client) -> None:
    error = errors.FailedPrecondition("snapshot x has children", hint="remove a, b", children=["a", "b"])
    agent.answer("DELETE /v1/default/snapshots/overlay/x", error.problem(), 412)
    with pytest.raises(errors.FailedPrecondition, match="has children") as caught:
        await client.snapshots.delete("overlay", "x")
    assert caught.value.details == {"children": ["a", "b"]}
    agent.answer("GET /v1/default/leases", {"items": []})
    await client.leases.list()
    assert agent.connections == 1


async def test_nobody_listens(tmp_path: Path) -> None:
    async with Client(str(tmp_path / "nobody")) as client:
        with pytest.raises(errors.Unavailable, match="is tricornd running"):
            await client.version()


@pytest.mark.parametrize("answer", [{"items": [{"id": 5}]}, {"items": 1}, [], "x", None])
async def test_an_answer_that_does_not_fit(agent: Agent, client: Client, answer: Any) -> None:
    agent.answer("GET /v1/default/leases", answer)
    with pytest.raises(errors.Internal):
        await client.leases.list()


async def test_an_agent_that_closes_in_the_middle(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines({"half": 1})

    agent.handlers["GET /v1/version"] = handler
    with pytest.raises(errors.Unavailable, match="closed the connection"):
        await client.version()


async def test_an_idle_connection_that_the_agent_closed_is_replaced(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.send(
            h11.Response(status_code=200, headers=[("Content-Length", "2")]),
            h11.Data(data=b"{}"),
            h11.EndOfMessage(),
        )
        await link.stream.aclose()

    agent.handlers["POST /v1/default/containers/web/kill"] = handler
    for _ in range(3):
        await client.containers.kill("web")
        await trio.testing.wait_all_tasks_blocked()
    assert agent.connections == 3


async def test_a_closed_client(agent: Agent) -> None:
    client = Client(agent.path)
    async with client:
        pass
    with pytest.raises(errors.Unavailable, match="client is closed"):
        await client.version()


# ---------------------------------------------------------------- concurrency and cancellation
async def test_calls_side_by_side(agent: Agent, client: Client) -> None:
    go = trio.Event()

    async def handler(link: Link) -> None:
        await go.wait()
        await link.answer({"exit_code": 0})

    agent.handlers["GET /v1/default/containers/web/wait?condition=stopped"] = handler
    agent.answer("GET /v1/version", {"version": "1"})
    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(client.containers.wait, "web")
        await trio.testing.wait_all_tasks_blocked()
        await client.version()
        go.set()
    assert agent.connections == 13
    for _ in range(9):
        await client.version()
    assert agent.connections == 13


async def test_cancelling_a_call_closes_its_connection(agent: Agent, client: Client) -> None:
    left = trio.Event()

    async def handler(link: Link) -> None:
        await link.gone()
        left.set()

    agent.handlers["PUT /v1/default/images"] = handler
    with trio.move_on_after(0.1) as scope:
        await client.images.put(ImageDesired("a"))
    assert scope.cancelled_caught
    await left.wait()
    agent.answer("GET /v1/version", {"version": "1"})
    await client.version()
    assert agent.connections == 2


# ---------------------------------------------------------------- long work and streams
def progress(phase: str) -> dict[str, Any]:
    objects = [{"digest": DIGEST, "kind": "layer", "phase": "download", "total": 5, "offset": 2}]
    return {"progress": {"operation": "1", "phase": phase, "objects": objects, "eta": None}}


async def test_work(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        assert link.headers["accept"] == "application/x-ndjson"
        await link.begin()
        await link.lines(progress("resolving"))
        await link.lines(progress("fetching"), {"result": {"changed": True}})
        await link.finish()

    agent.handlers["PUT /v1/default/images"] = handler
    async with client.images.work(ImageDesired("a")) as work:
        with pytest.raises(errors.FailedPrecondition, match="under way"):
            _ = work.result
        phases = [(item.phase, item.objects[0].offset) async for item in work]
        assert work.result.changed
        assert work.objects[DIGEST].phase == "download"
    assert phases == [("resolving", 2), ("fetching", 2)]
    async with client.images.work(ImageDesired("a")) as work:
        assert (await work.wait()).changed
        assert (await work.wait()).changed
    assert agent.connections == 1


async def test_work_that_fails(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines(progress("fetching"), {"error": errors.DataLoss("digest mismatch").problem()})
        await link.finish()

    agent.handlers["POST /v1/default/containers"] = handler
    with pytest.raises(errors.DataLoss, match="digest mismatch"):
        async with client.containers.create_work(ContainerDesired("a")) as work:
            await work.wait()


async def test_work_without_an_end(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines(progress("fetching"))
        await link.finish()

    agent.handlers["PUT /v1/default/containers/web"] = handler
    with pytest.raises(errors.Unavailable):
        async with client.containers.put_work("web", ContainerDesired("a")) as work:
            await work.wait()


async def test_leaving_work_cancels_it(agent: Agent, client: Client) -> None:
    left = trio.Event()

    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines(progress("fetching"))
        await link.gone()
        left.set()

    agent.handlers["PUT /v1/default/images"] = handler
    async with client.images.work(ImageDesired("a")) as work:
        async for _ in work:
            break
    await left.wait()


async def test_logs(agent: Agent, client: Client) -> None:
    more = trio.Event()

    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines({"timestamp": NOW, "stream": "stdout", "text": "one"})
        await more.wait()
        await link.lines(
            {"timestamp": NOW, "stream": "stderr", "text": "two"},
            {"error": errors.NotFound("log gone").problem()},
        )
        await link.finish()

    agent.handlers["GET /v1/default/containers/web/logs?follow=true&tail=5"] = handler
    async with client.containers.logs("web", follow=True, tail=5) as lines:
        assert (await anext(lines)).text == "one"
        more.set()
        assert (await anext(lines)).stream == "stderr"
        with pytest.raises(errors.NotFound, match="log gone"):
            await anext(lines)


async def test_events(agent: Agent, client: Client) -> None:
    raw = {
        "sequence": 4,
        "timestamp": NOW,
        "namespace": "default",
        "topic": "/tasks/exit",
        "event": {"id": "web"},
    }

    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines({"lost": 3}, raw)
        await link.finish()

    agent.handlers["GET /v1/events?since=1&follow=true"] = handler
    agent.answer("GET /v1/default/events?since=1&limit=10", {"items": [raw], "cursor": 4, "lost": 3})
    async with client.follow(since=1, everywhere=True) as events:
        found = [event async for event in events]
    assert isinstance(found[0], Lost)
    assert found[0] == 3
    assert isinstance(found[1], Event)
    items, cursor, lost = await client.events(since=1, limit=10)
    assert ([item.sequence for item in items], cursor, lost) == ([4], 4, 3)


async def test_progress_of_an_operation(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines(progress("a"), progress("b")["progress"])
        await link.finish()

    agent.handlers["GET /v1/default/operations/1/progress"] = handler
    async with client.operations.progress("1") as lines:
        assert [item.phase async for item in lines] == ["a", "b"]


async def test_a_blob(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        for _ in range(20):
            await link.send(h11.Data(data=b"x" * 100_000))
        await link.finish()

    agent.handlers[f"GET /v1/default/content/{DIGEST.replace(':', '%3A')}/data"] = handler
    async with client.content.open(DIGEST) as chunks:
        assert sum([len(chunk) async for chunk in chunks]) == 2_000_000


# ---------------------------------------------------------------- sessions
async def test_an_exec_session(agent: Agent, client: Client) -> None:
    heard: list[Any] = []

    async def handler(link: Link) -> None:
        await link.switch()
        heard.append((await link.frame()).document())  # type: ignore[union-attr]
        await link.say(FrameKind.STARTED, {"pid": 42})
        while (frame := await link.frame()) is not None and frame.kind is not FrameKind.STDIN_CLOSED:
            if frame.kind is FrameKind.STDIN:
                await link.say(FrameKind.STDOUT, frame.payload.upper())
            else:
                heard.append((frame.kind, frame.document()))
        await link.say(FrameKind.STDERR, b"bye")
        await link.say(FrameKind.EXIT, {"exit_code": 3})

    agent.handlers["POST /v1/default/containers/web/exec"] = handler
    async with client.containers.exec_session("web", ExecRequest(("cat",), terminal=True)) as session:
        await session.resize(24, 80)
        await session.signal("SIGINT")
        await session.send_stdin(b"hello")
        await session.close_stdin()
        output = [tuple(piece) async for piece in session]
    assert output == [("stdout", b"HELLO"), ("stderr", b"bye")]
    assert session.pid == 42
    assert session.exit is not None
    assert session.exit.exit_code == 3
    assert heard[0]["args"] == ["cat"]
    assert heard[1:] == [
        (FrameKind.RESIZE, {"rows": 24, "columns": 80}),
        (FrameKind.SIGNAL, {"signal": "SIGINT"}),
    ]


async def test_much_in_both_directions(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.switch()
        while (frame := await link.frame()) is not None and frame.kind is FrameKind.STDIN:
            await link.say(FrameKind.STDOUT, frame.payload)
        await link.say(FrameKind.EXIT, {"exit_code": 0})

    agent.handlers["GET /v1/default/containers/web/attach?start=true"] = handler
    data, got = bytes(range(256)) * 20_000, bytearray()
    async with client.containers.attach("web", start=True) as session:

        async def feed() -> None:
            await session.send_stdin(data)
            await session.close_stdin()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            async for piece in session:
                got += piece.data
    assert got == data


async def test_a_session_that_fails(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.switch()
        await link.say(FrameKind.ERROR, errors.NotFound("no such program").problem())

    agent.handlers["GET /v1/default/containers/web/attach"] = handler
    with pytest.raises(errors.NotFound, match="no such program"):
        async with client.containers.attach("web") as session:
            await session.wait()


async def test_a_session_that_breaks(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.switch()
        await link.say(FrameKind.STARTED, {"pid": 1})

    agent.handlers["GET /v1/default/containers/web/attach"] = handler
    async with client.containers.attach("web") as session:
        with pytest.raises(errors.Unavailable):
            await session.wait()


async def test_a_refused_upgrade(agent: Agent, client: Client) -> None:
    agent.answer("GET /v1/default/containers/web/attach", errors.NotFound("no web").problem(), 404)
    with pytest.raises(errors.NotFound, match="no web"):
        async with client.containers.attach("web"):
            pass
    agent.answer("GET /v1/default/containers/web/attach", {})
    with pytest.raises(errors.Unavailable, match="switch protocols"):
        async with client.containers.attach("web"):
            pass


async def test_a_send_cut_short_breaks_the_session(agent: Agent, client: Client) -> None:
    left = trio.Event()

    async def handler(link: Link) -> None:
        await link.switch()
        await left.wait()

    agent.handlers["GET /v1/default/containers/web/attach"] = handler
    async with client.containers.attach("web") as session:
        with trio.move_on_after(0.1) as scope:
            await session.send_stdin(b"x" * 10_000_000)
        assert scope.cancelled_caught
        with pytest.raises(errors.Unavailable, match="broken"):
            await session.close_stdin()
        left.set()


async def test_leaving_detaches(agent: Agent, client: Client) -> None:
    left = trio.Event()

    async def handler(link: Link) -> None:
        await link.switch()
        assert await link.frame() is None
        left.set()

    agent.handlers["GET /v1/default/containers/web/attach"] = handler
    async with client.containers.attach("web"):
        pass
    await left.wait()
