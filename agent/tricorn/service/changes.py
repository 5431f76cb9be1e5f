"""Looking at the records whenever something was written, in place of being told by each writer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from tricorn.store.db import Database

_CALM: Final = 0.2  # seconds between two looks


async def at_changes(db: Database, look: Callable[[], Awaitable[float]]) -> NoReturn:
    """Call `look` now, and again a moment after anything was written, for ever; also after as many seconds as
    it returned (infinity: only then).
    """
    while True:
        seen = db.newest
        pause = await look()
        await trio.sleep(_CALM)
        with trio.move_on_after(pause):
            await db.wait_beyond(seen)
