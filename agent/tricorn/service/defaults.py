"""What a namespace's labels choose where a request leaves the choice open (containerd's own labels)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tricorn.rules.runtime_names import RUNC_SHIM
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

SNAPSHOTTER: Final = "containerd.io/defaults/snapshotter"
RUNTIME: Final = "containerd.io/defaults/runtime"


class NamespaceDefaults:
    """Keeps the labels of namespaces that were asked for; whoever changes labels calls `forget`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[str, Mapping[str, str]] = {}
        self._changes = 0

    def forget(self, namespace: str) -> None:
        """Look at the namespace's labels again, the next time."""
        self._changes += 1
        self._known.pop(namespace, None)

    async def snapshotter(self, namespace: str, otherwise: str) -> str:
        """Return the snapshotter for requests of the namespace that name none."""
        return (await self._labels(namespace)).get(SNAPSHOTTER) or otherwise

    async def runtime(self, namespace: str) -> str:
        """Return our name of the runtime for such requests, "" for the node's default."""
        wanted = (await self._labels(namespace)).get(RUNTIME, "")
        return "" if wanted == RUNC_SHIM else wanted

    async def _labels(self, namespace: str) -> Mapping[str, str]:
        known = self._known.get(namespace)
        if known is not None:
            return known
        before = self._changes
        labels = await self._db.look(lambda tx: _labels(tx, namespace))
        if before == self._changes and labels is not None:  # what was read meanwhile may be the old ones
            self._known[namespace] = labels
        return labels or {}


def _labels(tx: Transaction, namespace: str) -> Mapping[str, str] | None:
    found = tx.namespaces.find(namespace)
    return found.labels if found else None
