"""The requests of checkpoints."""

from __future__ import annotations

from typing import Any

from tricorn.client.calls import path, query
from tricorn.exchange import Call


def checkpoint_container(ns: str, id: str, wanted: Any, *, stream: bool = False) -> Call:
    return Call("POST", path(ns, "containers", id, "checkpoint"), body=wanted, stream=stream)


def restore_checkpoint(ns: str, wanted: Any, *, stream: bool = False) -> Call:
    return Call("POST", path(ns, "checkpoints", "restore"), body=wanted, stream=stream)


def import_checkpoint(
    ns: str, *, image: str = "", base: str = "", whole: bool = True, operation: str = "", size: int = 0
) -> Call:
    """Return the upload whose bytes are the archive's."""
    fields = query(
        image=image or None, base=base or None, whole=None if whole else "false",
        operation=operation or None, size=size or None,
    )  # fmt: skip
    return Call("POST", path(ns, "checkpoints", "import"), fields, upload=True)
