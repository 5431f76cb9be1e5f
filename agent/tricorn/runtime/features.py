"""What an OCI runtime says of itself: its features document (OCI runtime spec, features.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tricorn.errors import DeadlineExceeded
from tricorn.runtime import process

_SECONDS: Final = 10.0


async def features_document(path: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what `RUNTIME features` prints; empty for a runtime that has no such command."""
    try:
        done = await process.run([path, "features"], environment, seconds=_SECONDS)
    except (OSError, DeadlineExceeded):
        return {}
    try:
        document = msgspec.json.decode(done.stdout) if done.code == 0 else {}
    except msgspec.DecodeError:
        return {}
    return document if isinstance(document, dict) else {}
