"""Waiting for what comes about by itself, with a deadline that only a defect reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from tricorn_testing.processes import command_line


def eventually(ask: Callable[[], Any], what: str = "it did not come about", timeout: float = 60.0) -> Any:
    """Return what `ask` returns once that is true; AssertionError, saying `what`, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (answer := ask()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return answer


def runs_program(pid: int, *arguments: str) -> None:
    """Wait until a process has become the program: a runtime's own lets go of it a moment before it does."""
    eventually(lambda: command_line(pid) == [*arguments], f"{pid} does not become {arguments}")


async def eventually_in_trio(ask: Callable[[], Any], what: str = "it did not come about") -> Any:
    """Do what `eventually` does, and let other tasks go on meanwhile."""
    return await trio.to_thread.run_sync(partial(eventually, ask, what))
