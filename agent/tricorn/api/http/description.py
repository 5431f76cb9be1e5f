"""The OpenAPI document as it is served: made when somebody first asks for it, which few agents ever see.

Making it takes as long as a fourth of an agent's start, and modules that nothing else needs.
"""

from __future__ import annotations

from typing import Final

import trio

from tricorn.api.http.codec import encode
from tricorn.api.http.routes import ROUTES

_LIMITER: Final = trio.CapacityLimiter(1)


class Description:
    """The description of one release's API."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._made: bytes | None = None
        self._making = trio.Lock()

    async def document(self) -> bytes:
        """Return the document as JSON; who asks while it is being made waits for it."""
        async with self._making:
            if self._made is None:
                self._made = await trio.to_thread.run_sync(_make, self._version, limiter=_LIMITER)
            return self._made


def _make(version: str) -> bytes:
    from tricorn.api.http.openapi import build_document

    return encode(build_document(ROUTES, version))
