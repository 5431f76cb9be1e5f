"""Looking at the records whenever something was written, in place of being told by each writer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog
import trio

from tricorn.errors import TricornError
from tricorn.store.db import Database

log = structlog.get_logger(__name__)
_CALM: Final = 0.2  # seconds between two looks
_RETRY: Final = 5.0  # seconds after a look that failed


async def at_changes(db: Database, look: Callable[[], Awaitable[float]]) -> NoReturn:
    """Call `look` now, and again a moment after anything was written, for ever; also after as many seconds as
    it returned (infinity: only then). What goes wrong in `look` is logged, and tried again soon.
    """
    while True:
        seen = db.newest
        try:
            pause = await look()
        except TricornError as error:
            log.error("the records could not be looked at", error=error.one_line())
            pause = _RETRY
        await trio.sleep(_CALM)
        with trio.move_on_after(pause):
            await db.wait_beyond(seen)
