"""Execs as the service keeps them, on a runtime that only notes what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import Factory, define

from tricorn.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from tricorn.model.records import ProcessIdentity, TaskStatus
from tricorn.model.stdio import NULL_STDIO
from tricorn.ports import BundleRef, Created, Exit, FoundExec
from tricorn.service.execs import Exec, Execs
from tricorn.store.db import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REF = BundleRef("ns", "c1", "/bundle", "/log", "runc")


class Clock:
    def now(self) -> datetime:
        return NOW


@define(eq=False)
class NotingRuntime:
    """Starts nothing; an exec ends when `end` is called."""

    asked: list[tuple[Any, ...]] = Factory(list)
    refuse: bool = False
    codes: dict[str, int] = Factory(dict)
    events: dict[str, trio.Event] = Factory(dict)

    async def start_exec(self, ref: BundleRef, exec_id: str, *_: Any) -> Created:
        await trio.lowlevel.checkpoint()
        self.asked.append(("start", exec_id))
        if self.refuse:
            raise InvalidArgument("the command can't be executed")
        self.events[exec_id] = trio.Event()
        return Created(ProcessIdentity(100 + len(self.events), 1), ProcessIdentity(200, 1))

    async def wait_exec(self, ref: BundleRef, exec_id: str, created: Created) -> Exit:
        await self.events[exec_id].wait()
        return Exit(self.codes[exec_id], NOW)

    async def kill_exec(self, ref: BundleRef, created: Created, signal: int) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(("kill", created.init.pid, signal))

    async def remove_exec(self, ref: BundleRef, exec_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(("remove", exec_id))

    async def note_exec_told(self, ref: BundleRef, exec_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(("told", exec_id))

    def end(self, exec_id: str, code: int) -> None:
        self.codes[exec_id] = code
        self.events[exec_id].set()


@define
class Setting:
    execs: Execs
    runtime: NotingRuntime
    db: Database

    async def add(self, exec_id: str) -> Exec:
        await self.execs.add(REF, exec_id, {"args": ["true"]}, NULL_STDIO)
        return self.execs.get("ns", "c1", exec_id)

    async def topics(self) -> list[str]:
        page = await self.db.read(lambda tx: tx.events.page(0, "ns"))
        return [f"{event.topic} {event.event.get('exec_id') or event.event['id']}" for event in page.events]


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    runtime = NotingRuntime()
    async with (
        Database.open(str(tmp_path / "db"), Clock()) as db,
        Execs.open(db, runtime, Clock()) as execs,  # type: ignore[arg-type]  # as much of a runtime as is asked
    ):
        yield Setting(execs, runtime, db)


async def test_an_exec_goes_through_its_life_and_the_journal_tells(setting):
    item = await setting.add("e1")
    assert item.view().status is TaskStatus.CREATED
    assert await setting.execs.start(item) == 101
    assert setting.execs.pids("ns", "c1") == {101: "e1"}
    assert setting.execs.running() == 1
    setting.runtime.end("e1", 5)
    assert (await setting.execs.wait(item)).code == 5
    view = item.view()
    assert (view.status, view.exit_code, view.exited_at) == (TaskStatus.STOPPED, 5, NOW)
    assert setting.execs.pids("ns", "c1") == {}
    await setting.db.wait_beyond(2)
    assert await setting.topics() == ["/tasks/exec-added e1", "/tasks/exec-started e1", "/tasks/exit e1"]
    deleted = await setting.execs.remove(item)
    assert (deleted.pid, deleted.exit_code) == (101, 5)
    with pytest.raises(NotFound):
        setting.execs.get("ns", "c1", "e1")


async def test_ids_belong_to_their_container(setting):
    await setting.add("e1")
    with pytest.raises(AlreadyExists):
        await setting.add("e1")
    for key in (("ns", "other"), ("other", "c1")):
        with pytest.raises(NotFound):
            setting.execs.get(*key, "e1")


async def test_there_are_only_so_many(setting, monkeypatch):
    monkeypatch.setattr("tricorn.limits.EXECS_PER_CONTAINER", 2)
    items = [await setting.add(f"e{number}") for number in range(2)]
    with pytest.raises(ResourceExhausted):
        await setting.add("e3")
    await setting.execs.remove(items[0])
    await setting.add("e3")


async def test_what_does_not_fit_its_state_is_refused(setting):
    item = await setting.add("e1")
    with pytest.raises(FailedPrecondition):
        await setting.execs.kill(item, 15)
    await setting.execs.start(item)
    for call in (setting.execs.start, setting.execs.remove):
        with pytest.raises(FailedPrecondition):
            await call(item)
    await setting.execs.kill(item, 15)
    assert setting.runtime.asked[-1] == ("kill", 101, 15)
    setting.runtime.end("e1", 143)
    await setting.execs.wait(item)
    with pytest.raises(NotFound):
        await setting.execs.kill(item, 15)


async def test_one_that_cannot_be_started_has_stopped(setting):
    setting.runtime.refuse = True
    item = await setting.add("e1")
    with pytest.raises(InvalidArgument):
        await setting.execs.start(item)
    assert item.view().status is TaskStatus.STOPPED
    assert (await setting.execs.wait(item)).note
    assert await setting.topics() == ["/tasks/exec-added e1"]
    await setting.execs.remove(item)


async def test_waiters_of_what_never_runs_are_let_go(setting):
    first, second = await setting.add("e1"), await setting.add("e2")
    results: list[Exit] = []

    async def wait(item: Exec) -> None:
        results.append(await setting.execs.wait(item))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, first)
            nursery.start_soon(wait, second)
            await trio.testing.wait_all_tasks_blocked()
            await setting.execs.remove(first)
            setting.execs.forget_all("ns", "c1")
    assert len(results) == 2


async def test_starting_twice_at_once_starts_once(setting):
    item = await setting.add("e1")
    failures: list[FailedPrecondition] = []

    async def start() -> None:
        try:
            await setting.execs.start(item)
        except FailedPrecondition as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        nursery.start_soon(start)
    assert len(failures) == 1
    assert setting.runtime.asked == [("start", "e1")]


async def test_those_of_an_earlier_agent_are_taken_up_and_told_of_once(setting):
    created = Created(ProcessIdentity(7, 1), ProcessIdentity(8, 1))
    runtime = setting.runtime
    runtime.events.update({"new": trio.Event(), "old": trio.Event()})
    found = [FoundExec("new", created, NULL_STDIO), FoundExec("old", created, NULL_STDIO, told=True)]
    setting.execs.adopt(REF, found)
    assert setting.execs.get("ns", "c1", "new").view().status is TaskStatus.RUNNING
    with pytest.raises(AlreadyExists):
        await setting.add("old")
    for name, code in (("old", 3), ("new", 4)):
        runtime.end(name, code)
        assert (await setting.execs.wait(setting.execs.get("ns", "c1", name))).code == code
    await setting.db.wait_beyond(0)
    await trio.testing.wait_all_tasks_blocked()
    assert await setting.topics() == ["/tasks/exit new"]
    assert runtime.asked == [("told", "new")]
