"""Figures that cost a query, taken every few seconds so that a scrape of the metrics costs none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import structlog
import trio

from tricorn.errors import TricornError
from tricorn.service.usage import figures
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_INTERVAL = 10.0  # seconds


class Figures:
    """Containers by state and bytes of content, over all namespaces, as of a moment ago."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._containers: dict[str, int] = {}
        self._content: dict[str, int] = {"blobs": 0, "bytes": 0}
        self._usage: Mapping[str, Mapping[str, int]] = {}

    def containers(self) -> dict[str, int]:
        return self._containers

    def content(self) -> dict[str, int]:
        return self._content

    def usage(self) -> Mapping[str, Mapping[str, int]]:
        """By namespace."""
        return self._usage

    async def keep_fresh(self) -> None:
        """Take the figures again and again, until cancelled."""
        while True:
            try:
                await self.take()
            except TricornError as error:
                log.warning("figures not taken", error=str(error))
            await trio.sleep(_INTERVAL)

    async def take(self) -> None:
        """Take them once."""
        self._containers, self._content, self._usage = await self._db.read(_read)


def _read(
    tx: Transaction,
) -> tuple[dict[str, int], dict[str, int], Mapping[str, Mapping[str, int]]]:
    states = Counter(str(task.status) for _, task in tx.tasks.list_all())
    states["without_task"] = len(tx.containers.list_all()) - states.total()
    sizes = {info.digest: info.size for _, info in tx.content.list_all()}  # shared blobs count once
    usage = figures(tx.budgets.usage_of_all())
    return dict(states), {"blobs": len(sizes), "bytes": sum(sizes.values())}, usage
