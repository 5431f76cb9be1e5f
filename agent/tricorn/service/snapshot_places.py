"""Whose snapshots a call is about: a namespace's own, or those of another daemon that keeps its layers here.

A containerd may use this agent as its snapshotter (`proxy_plugins`). It names it `tricorn`, calls with or
without a namespace, puts its own namespace into the keys, and collects garbage itself. So all that it
keeps here lives in one namespace of its own and is a root of our collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

PROXIED: Final = "tricorn"  # what a foreign daemon calls our snapshotter
PROXY_NAMESPACE: Final = "proxied"
_ROOT: Final = "containerd.io/gc.root"


@frozen
class Place:
    """Where a call's snapshots are. `foreign`: their owner is another daemon."""

    namespace: str
    snapshotter: str
    foreign: bool = False

    def labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the labels of a new snapshot: a foreign one is kept until its owner removes it."""
        return {**labels, _ROOT: PROXIED} if self.foreign else dict(labels)

    def shown(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the labels as the owner gave them."""
        return {key: value for key, value in labels.items() if not (self.foreign and key == _ROOT)}

    def lease(self, lease: str) -> str:
        """Return the lease to take part in: a foreign daemon speaks of leases of its own."""
        return "" if self.foreign else lease
