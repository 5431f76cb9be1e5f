"""A blob sink in memory, which can be slow, fail, or start half full."""

from __future__ import annotations

import trio
from attrs import define, field


@define
class MemorySink:
    """Fails with `error` once it holds `fail_at` bytes; waits `delay` seconds in each write."""

    data: bytearray = field(factory=bytearray)
    delay: float = 0.0
    error: Exception | None = None
    fail_at: int = 0
    writes: int = 0

    @property
    def offset(self) -> int:
        return len(self.data)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(self.delay)
        self.writes += 1
        if self.error is not None and len(self.data) + len(data) > self.fail_at:
            raise self.error
        self.data += data
