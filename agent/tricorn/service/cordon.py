"""A cordoned node takes on nothing new: what runs there runs on, and restart policies go on to act.

It is kept in a file of its own beside the database: whatever release of the agent starts next heeds it, and
so does one that has to begin with an empty database.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import partial
from typing import Any, Final

import attrs
import msgspec
import structlog
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition
from tricorn.fs.failures import typed
from tricorn.model.cordon import CordonView, check_reason
from tricorn.model.requests import Action, Change
from tricorn.ports import Clock

log = structlog.get_logger(__name__)
FILE: Final = "cordon.json"
_LIMITER: Final = trio.CapacityLimiter(1)
_OBJECT: Final = "node/cordon"


class Cordon:
    """Without `load` the node is open, and a cordon ends with the agent."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._path = ""
        self._view = CordonView()
        self._lock = trio.Lock()

    @classmethod
    async def load(cls, directory: str, clock: Clock) -> Cordon:
        """Return what an earlier agent has left in `directory`. A file that can't be read counts as a cordon:
        it is there as somebody wanted one.
        """
        cordon = cls(clock)
        cordon._path = os.path.join(directory, FILE)
        cordon._view = await trio.to_thread.run_sync(_read, cordon._path, limiter=_LIMITER)
        return cordon

    @property
    def view(self) -> CordonView:
        return self._view

    def facts(self) -> dict[str, Any]:
        """Return the same for `info`."""
        return attrs.asdict(self._view)

    def require_open(self, what: str) -> None:
        """Raise FailedPrecondition with reason and remedy, unless the node takes on something new."""
        if self._view.cordoned:
            raise FailedPrecondition(f"{what} is refused", why=self._why(), hint=_HINT, cordoned=True)

    def warnings(self) -> tuple[str, ...]:
        """Return what a plan of something new is to say of it."""
        return (f"{self._why()}: it would be refused",) if self._view.cordoned else ()

    def _why(self) -> str:
        reason = f" ({self._view.reason})" if self._view.reason else ""
        return f"this node is cordoned{reason}, it takes on nothing new"

    async def put(self, reason: str, *, plan: bool = False) -> Change:
        """Cordon the node, or change why it is. InvalidArgument for a reason that is no line of text."""
        reason = check_reason(reason)
        async with self._lock:
            known = self._view.since if self._view.cordoned else None
            since = known or (self._clock.now() if self._clock else None)
            return await self._change(CordonView(cordoned=True, reason=reason, since=since), plan=plan)

    async def lift(self, *, plan: bool = False) -> Change:
        """Let the node take on containers again."""
        async with self._lock:
            return await self._change(CordonView(), plan=plan)

    async def _change(self, wanted: CordonView, *, plan: bool) -> Change:
        before, after = _shown(self._view), _shown(wanted)
        if before == after:
            return Change(changed=False, before=before, after=after)
        action = Action("cordon" if wanted.cordoned else "uncordon", _OBJECT, wanted.reason)
        if not plan:
            with trio.CancelScope(shield=True):
                await self._keep(wanted)
            log.info("node cordoned" if wanted.cordoned else "node uncordoned", reason=wanted.reason)
        return Change(changed=True, actions=(action,), before=before, after=after)

    async def _keep(self, wanted: CordonView) -> None:
        """Have it on disk before anybody is told, or refused for it."""
        if self._path:
            try:
                await trio.to_thread.run_sync(partial(_write, self._path, wanted), limiter=_LIMITER)
            except OSError as error:
                raise typed(error, f"the cordon can't be kept in {self._path}") from None
        self._view = wanted


_HINT: Final = "run it at another node; `tricorn node uncordon` opens this one again"


def _shown(view: CordonView) -> dict[str, Any]:
    return {"cordoned": view.cordoned, "reason": view.reason}


def _read(path: str) -> CordonView:
    try:
        with open(path, "rb") as file:
            found = msgspec.json.decode(file.read(limits.CORDON_FILE))
        since = datetime.fromisoformat(found["since"]) if found["since"] else None
        return CordonView(cordoned=True, reason=str(found["reason"]), since=since)
    except FileNotFoundError:
        return CordonView()
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        log.error("the node's cordon can't be read, and counts", path=path, error=str(error))
        return CordonView(cordoned=True, reason=f"{path} can't be read")


def _write(path: str, wanted: CordonView) -> None:
    if wanted.cordoned:
        scratch = f"{path}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(scratch, flags, 0o600), "wb") as file:
            file.write(msgspec.json.encode(attrs.asdict(wanted)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    elif os.path.exists(path):
        os.unlink(path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
