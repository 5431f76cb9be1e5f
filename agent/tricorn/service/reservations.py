"""Backend ids of snapshots that are being made: safe from the sweep, and from being left behind."""

from __future__ import annotations

from uuid import uuid4

import trio

from tricorn import limits
from tricorn.ports import Snapshotter


class Reservation:
    """Backend ids of one piece of work: those not kept by its end are removed."""

    def __init__(self, backend: Snapshotter | None, in_flight: set[str]) -> None:
        self._backend = backend
        self._in_flight = in_flight
        self._taken: list[str] = []
        self._kept: set[str] = set()

    def take(self) -> str:
        """Return a new backend id, safe from the sweep while the reservation is open."""
        backend_id = uuid4().hex[:20]
        self._in_flight.add(backend_id)
        self._taken.append(backend_id)
        return backend_id

    def keep(self, *backend_ids: str) -> None:
        """Say that records name these ids now."""
        self._kept.update(backend_ids)

    async def close(self) -> None:
        """Remove the directories of ids that were not kept, whatever is being cancelled."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            for backend_id in self._taken:
                if backend_id not in self._kept and self._backend:
                    await self._backend.remove(backend_id)
        self._in_flight.difference_update(self._taken)
