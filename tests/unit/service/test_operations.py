"""Operations: progress, cancellation, failure, and what is kept of them."""

from __future__ import annotations

import errno

import pytest
import trio
import trio.testing

from tricorn import limits
from tricorn.errors import NotFound
from tricorn.service.locks import KeyedLock
from tricorn.service.nurseries import typed_nursery
from tricorn.service.operations import OperationService, Reporter
from tricorn_testing.clock import HandClock


async def test_progress_is_seen_and_ends_with_the_work() -> None:
    async with OperationService.open(HandClock()) as operations:

        async def work(reporter: Reporter) -> int:
            for offset in range(3):
                reporter.report("download", offset=offset, total=2)
                await trio.testing.wait_all_tasks_blocked()
            return 7

        operation = operations.run("default", "pull", "x", work)
        offsets = [progress.offset async for progress in operation.progress()]
        view = operation.view()
        assert (view.state, view.result) == ("done", 7)
        assert offsets[-1] == 2
        assert operations.list("default") == [view]
        assert operations.list("other") == []


async def test_a_cancelled_operation_says_so() -> None:
    async with OperationService.open(HandClock()) as operations:

        async def work(_: Reporter) -> None:
            await trio.sleep_forever()

        operation = operations.run("default", "pull", "x", work)
        await trio.testing.wait_all_tasks_blocked()
        operation.cancel()
        view = await operation.wait()
        assert view.state == "cancelled"
        assert view.error is not None
        assert view.error["code"] == "Canceled"


async def test_failures_become_problems_and_never_leave() -> None:
    async with OperationService.open(HandClock()) as operations:

        async def typed(_: Reporter) -> None:
            raise NotFound("nothing there")

        async def crash(_: Reporter) -> None:
            raise ZeroDivisionError

        async def crowded(_: Reporter) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        third = await operations.run("default", "pull", "x", crowded).wait()
        assert (third.state, third.error["code"]) == ("failed", "ResourceExhausted")
        first = await operations.run("default", "pull", "x", typed).wait()
        second = await operations.run("default", "pull", "x", crash).wait()
        assert (first.state, first.error["code"]) == ("failed", "NotFound")
        assert (second.state, second.error["code"]) == ("failed", "Internal")


async def test_old_operations_are_forgotten() -> None:
    async with OperationService.open(HandClock()) as operations:

        async def work(_: Reporter) -> None:
            await trio.lowlevel.checkpoint()

        for _ in range(limits.OPERATIONS_KEPT + 20):
            await operations.run("default", "x", "y", work).wait()
        assert len(operations.list("default")) <= limits.OPERATIONS_KEPT + 1


async def test_a_keyed_lock_excludes_by_key_and_keeps_no_entry() -> None:
    locks = KeyedLock()
    order: list[str] = []

    async def hold(key: str, name: str) -> None:
        async with locks.hold("ns", key):
            order.append(f"{name} in")
            await trio.testing.wait_all_tasks_blocked()
            order.append(f"{name} out")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, "a", "first")
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(hold, "a", "second")
        nursery.start_soon(hold, "b", "third")
    assert order.index("first out") < order.index("second in")
    assert len(locks) == 0


async def test_a_typed_error_leaves_a_nursery_as_itself() -> None:
    async def fail() -> None:
        raise NotFound("no layer")

    with pytest.raises(NotFound, match="no layer"):
        async with typed_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            async with typed_nursery() as inner:
                inner.start_soon(fail)
                inner.start_soon(fail)


async def test_a_mistake_leaves_a_nursery_as_a_group() -> None:
    async def crash() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        async with typed_nursery() as nursery:
            nursery.start_soon(crash)
