"""The client of the agent's HTTP API, for programs on Trio.

    async with Client() as client:
        for container in await client.containers.list("default"):
            ...

The names are loaded on first use, so that the command line can share `tricorn.client.calls` without
importing Trio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tricorn.client.api import Client
    from tricorn.client.session import Session
    from tricorn.client.stream import Stream, Work

__all__ = ["Client", "Session", "Stream", "Work"]

_HOMES = {"Client": "api", "Session": "session", "Stream": "stream", "Work": "stream"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f"tricorn.client.{_HOMES[name]}"), name)
