"""Tries a plan's hosts in order, and again after a pause while trying again may help."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from attrs import Factory, define

from tricorn.errors import DataLoss, FailedPrecondition, NotFound, TricornError, Unavailable
from tricorn.registry.pacing import Backoff
from tricorn.rules.hosts import RegistryHost

log = structlog.get_logger(__name__)
T = TypeVar("T")
_NAMED: Final = 8
_IN_TROUBLE: Final = "the registry or the way to it is in trouble: try again, or name a mirror in hosts.toml"
_OTHER_BYTES: Final = "the registry, or a proxy before it, serves other bytes; none of them were kept"


class ShortBody(Unavailable):
    """The registry ended a complete answer before the size that the descriptor promises."""


@define
class Attempts:
    """What was tried in one call. The error it raises is the last one, with all others named."""

    what: str
    hosts: list[RegistryHost]
    backoff: Backoff
    offset: Callable[[], int] = Factory(lambda: lambda: 0)  # bytes brought so far
    retries: int = 0
    _denied: NotFound | None = None  # by the registry itself: no mirror knows better
    _story: list[str] = Factory(list)
    _last: TricornError | None = None

    async def run(self, attempt: Callable[[RegistryHost], Awaitable[T]]) -> T:
        """Return what the first successful `attempt` returns.

        Unavailable is tried again after a pause; any other refusal rules its host out, and one that
        comes after bytes were brought (DataLoss) ends the call.
        """
        while self.hosts:
            for host in tuple(self.hosts):
                before = self.offset()
                try:
                    return await attempt(host)
                except TricornError as error:
                    moved = self.offset() > before
                    self._note(host, error, moved=moved)
                if moved:
                    break
            if self._denied is not None:
                break
            if self.hosts and self._last is not None:
                await self.backoff.pause(self._final())
                self.retries += 1
        raise self._final()

    def _note(self, host: RegistryHost, error: TricornError, *, moved: bool) -> None:
        log.info("registry attempt failed", what=self.what, host=str(host), error=error.one_line())
        self._last = error
        line = f"{host}: {error}"
        if line not in self._story:
            self._story.append(line)
        if not isinstance(error, Unavailable):
            self.hosts.remove(host)
            if host.upstream and isinstance(error, NotFound):
                self._denied = error
            if moved:
                self.hosts.clear()
        if moved:
            self.backoff.progress()

    def _final(self) -> TricornError:
        error = self._denied or self._last
        if error is None:
            return FailedPrecondition(
                self.what,
                why="hosts.toml gives no host the needed capability",
                hint="add it to `capabilities` of a host",
            )
        cls = DataLoss if isinstance(error, ShortBody) else type(error)
        why = "; ".join(self._story[-_NAMED:])
        hint = error.hint or _hint(cls)
        return cls(self.what, why=why, hint=hint, field=error.field, **error.details)


def _hint(cls: type[TricornError]) -> str:
    if issubclass(cls, Unavailable):
        return _IN_TROUBLE
    return _OTHER_BYTES if issubclass(cls, DataLoss) else ""
