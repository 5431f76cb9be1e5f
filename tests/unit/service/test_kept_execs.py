"""How long execs are kept that go on without a client, on a runtime that only notes what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from attrs import Factory, define

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from tricorn.model.execs import ExecStart, KeptExec
from tricorn.model.records import ProcessIdentity, TaskStatus
from tricorn.model.stdio import NULL_STDIO, Stdio
from tricorn.ports import BundleRef, Created, Exit, FoundExec
from tricorn.service.execs import Execs
from tricorn.service.kept_execs import ExecService
from tricorn.store.db import Database

REF = BundleRef("ns", "c1", "/bundle", "/log", "runc", log_size=1000)


@define
class Clock:
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


@define(eq=False)
class NotingRuntime:
    """Starts nothing; what it is given has ended at once unless `running`."""

    clock: Clock
    asked: list[tuple[Any, ...]] = Factory(list)
    running: bool = False
    gate: trio.Event | None = None

    async def start_kept_exec(self, ref: BundleRef, exec_id: str, process: Any, kept: KeptExec) -> Created:
        self.asked.append(("start", exec_id, kept))
        if process["args"] == ("nothing",):
            raise InvalidArgument("the command can't be executed")
        if self.gate is not None:
            await self.gate.wait()
        await trio.lowlevel.checkpoint()
        return Created(ProcessIdentity(100, 1), ProcessIdentity(200, 1))

    async def wait_exec(self, ref: BundleRef, exec_id: str, created: Created) -> Exit:
        if self.running:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return Exit(5, self.clock.now())

    async def rotate_exec_log(self, ref: BundleRef, exec_id: str, kept: KeptExec) -> bool:
        await trio.lowlevel.checkpoint()
        self.asked.append(("rotate", exec_id))
        return True

    async def remove_exec(self, ref: BundleRef, exec_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(("remove", exec_id))

    async def note_exec_told(self, ref: BundleRef, exec_id: str) -> None:
        await trio.lowlevel.checkpoint()


class Lifecycle:
    """One container, that runs or is paused."""

    status = TaskStatus.RUNNING
    bundles = SimpleNamespace(rootfs=lambda *_: "/rootfs")

    async def live(self, *_: str) -> Any:
        await trio.lowlevel.checkpoint()
        return REF, SimpleNamespace(id="c1"), SimpleNamespace(status=self.status)

    async def records(self, *_: str) -> Any:
        await trio.lowlevel.checkpoint()
        return SimpleNamespace(id="c1"), None


class Specs:
    async def exec_process(self, container: Any, request: Any, rootfs: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"args": request.args}


@define
class Setting:
    service: ExecService
    execs: Execs
    runtime: NotingRuntime
    clock: Clock
    lifecycle: Lifecycle

    async def start(self, name: str, *args: str) -> None:
        await self.service.start("ns", "c1", ExecStart(args or ("true",), name))
        if not self.runtime.running:
            await self.service.wait("ns", "c1", name)

    async def names(self) -> list[str]:
        return [view.id for view in await self.service.list("ns", "c1")]


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    clock, lifecycle = Clock(), Lifecycle()
    runtime = NotingRuntime(clock)
    as_much: Any = runtime
    parts: Any = (lifecycle, Specs(), None)
    async with (
        Database.open(str(tmp_path / "db"), clock) as db,
        Execs.open(db, as_much, clock) as execs,
    ):
        yield Setting(ExecService(as_much, *parts, execs, clock), execs, runtime, clock, lifecycle)


async def test_the_view_and_the_record(setting: Setting) -> None:
    view = await setting.service.start("ns", "c1", ExecStart(("sh", "-c", "x"), terminal=True, user="app"))
    assert (view.container, view.args, view.terminal, view.user) == ("c1", ("sh", "-c", "x"), True, "app")
    assert len(view.id) == 12
    kept = setting.runtime.asked[0][2]
    assert (kept.log_size, kept.log_files) == (1000, limits.EXEC_LOG_FILES)  # the container's own is smaller
    await setting.service.wait("ns", "c1", view.id)
    ended = await setting.service.get("ns", "c1", view.id)
    assert (ended.status, ended.exit_code, ended.exited_at, ended.pid) == ("stopped", 5, setting.clock.at, 0)


async def test_the_oldest_ended_ones_make_room(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXECS_ENDED", 2)
    for name in ("c", "a", "b"):
        await setting.start(name)
        setting.clock.at += timedelta(seconds=1)
    assert await setting.names() == ["a", "b"]
    assert setting.runtime.asked.count(("remove", "c")) == 1


async def test_those_of_other_clients_are_not_counted(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EXECS_ENDED", 1)
    created = Created(ProcessIdentity(1, 1), ProcessIdentity(2, 1))
    setting.execs.adopt(REF, [FoundExec("theirs", created, Stdio(stdout="/fifo"))])
    await setting.service.wait("ns", "c1", "theirs")
    for name in ("a", "b"):
        await setting.start(name)
    assert await setting.names() == ["theirs", "b"]
    assert not (await setting.service.get("ns", "c1", "theirs")).kept
    with pytest.raises(FailedPrecondition, match="the client that started it"):
        async with setting.service.attach("ns", "c1", "theirs"):
            pass


async def test_what_was_found_again_is_looked_after(setting: Setting, autojump_clock: Any) -> None:
    """Logs of those that run are bounded, and those that ended long ago are dropped."""
    kept = KeptExec(("x",), "", terminal=False, stdin=False, started_at=setting.clock.at)
    created = Created(ProcessIdentity(1, 1), ProcessIdentity(2, 1))
    await setting.start("old")
    setting.runtime.running = True
    setting.execs.adopt(REF, [FoundExec("e1", created, NULL_STDIO, kept=kept)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setting.service.look_after)
        await trio.sleep(5)
        assert ("rotate", "e1") in setting.runtime.asked
        assert await setting.names() == ["old", "e1"]
        setting.clock.at += timedelta(seconds=limits.EXECS_ENDED_AGE + 1)
        await trio.sleep(5)
        assert await setting.names() == ["e1"]
        nursery.cancel_scope.cancel()


async def test_a_start_that_fails_or_is_cancelled_leaves_nothing(setting: Setting) -> None:
    with pytest.raises(InvalidArgument):
        await setting.start("e1", "nothing")
    assert await setting.names() == []
    setting.runtime.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setting.start, "e2")
        await trio.testing.wait_all_tasks_blocked()
        assert await setting.names() == ["e2"]
        nursery.cancel_scope.cancel()
    assert await setting.names() == []
    assert setting.runtime.asked[-1] == ("remove", "e2")


async def test_what_is_refused(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    setting.lifecycle.status = TaskStatus.PAUSED
    with pytest.raises(FailedPrecondition, match="is paused"):
        await setting.start("e1")
    setting.lifecycle.status = TaskStatus.RUNNING
    setting.runtime.running = True
    await setting.start("e1")
    monkeypatch.setattr(limits, "EXECS_PER_CONTAINER", 1)
    with pytest.raises(ResourceExhausted):
        await setting.start("e2")
    with pytest.raises(NotFound):
        await setting.service.get("ns", "c2", "e1")
    with pytest.raises(FailedPrecondition, match="no terminal"):
        await setting.service.resize("ns", "c1", "e1", 10, 10)
    with pytest.raises(InvalidArgument, match="65535"):
        await setting.service.resize("ns", "c1", "e1", 0, 10)
