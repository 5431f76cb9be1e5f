"""Loads structlog without what it would take along for nothing.

It imports rich (with pygments) for tracebacks that the agent's log doesn't have, and greenlet for contexts
that the agent has none of, wherever the two are installed: 5 MB, a twelfth of an agent at rest.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

_NOT_NEEDED: Final = ("rich", "greenlet")


def load() -> None:
    """Import structlog; to be called before anybody else does. What it was denied can be imported later."""
    denied = [name for name in _NOT_NEEDED if name not in sys.modules]
    for name in denied:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails now
    try:
        importlib.import_module("structlog")
    finally:
        for name in denied:
            del sys.modules[name]
