"""The requests of checkpoints."""

from __future__ import annotations

from typing import Any

from tricorn.client.calls import path
from tricorn.exchange import Call


def checkpoint_container(ns: str, id: str, wanted: Any, *, stream: bool = False) -> Call:
    return Call("POST", path(ns, "containers", id, "checkpoint"), body=wanted, stream=stream)


def restore_checkpoint(ns: str, wanted: Any, *, stream: bool = False) -> Call:
    return Call("POST", path(ns, "checkpoints", "restore"), body=wanted, stream=stream)
