"""Waiting for what comes about by itself, with a deadline that only a defect reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def eventually(ask: Callable[[], Any], what: str = "it did not come about", timeout: float = 60.0) -> Any:
    """Return what `ask` returns once that is true; AssertionError, saying `what`, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (answer := ask()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return answer
