"""Loads structlog without what it would take along for nothing.

It imports rich (with pygments) for tracebacks that the agent's log doesn't have, and greenlet for contexts
that the agent has none of, wherever the two are installed: 5 MB, a twelfth of an agent at rest. And it
imports asyncio for loggers that are awaited, which Trio's tasks can't do: 2 MB, and time at each start.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Final

_NOT_NEEDED: Final = ("rich", "greenlet")  # it does without
_EMPTY_WILL_DO: Final = ("asyncio",)  # it insists on


def load() -> None:
    """Import structlog; to be called before anybody else does. What it was denied can be imported later."""
    stand_ins: dict[str, ModuleType | None] = dict.fromkeys(_NOT_NEEDED)
    stand_ins |= {name: ModuleType(name) for name in _EMPTY_WILL_DO}
    denied = {name: stand_in for name, stand_in in stand_ins.items() if name not in sys.modules}
    sys.modules.update(denied)  # type: ignore[arg-type]  # an import of None fails
    try:
        importlib.import_module("structlog")
    finally:
        for name in denied:
            del sys.modules[name]
