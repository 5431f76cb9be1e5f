"""What a namespace uses of the node, and what it may use."""

from __future__ import annotations

from attrs import frozen


@frozen
class Budget:
    """The most that a namespace may have, None: any. `bytes` are those of its content and snapshots."""

    bytes: int | None = None
    images: int | None = None
    containers: int | None = None

    def __bool__(self) -> bool:
        return any(bound is not None for bound in (self.bytes, self.images, self.containers))


@frozen
class BudgetRule:
    """A budget of the configuration, for the namespaces whose names match one of the patterns (`team-*`)."""

    namespaces: tuple[str, ...]
    bytes: int | None = None
    images: int | None = None
    containers: int | None = None


@frozen
class NamespaceUsage:
    """Sizes in bytes. `content` is that of its blobs: `content_own` of those that no other namespace has,
    `content_shared` of the others, which lie on disk once. `ingests` is what transfers under way may still
    come to, as far as it is known. `snapshots` is that of committed layers, and with `active` (None unless
    it was asked for) that of containers' writable ones.
    """

    namespace: str
    content: int = 0
    content_own: int = 0
    content_shared: int = 0
    blobs: int = 0
    ingests: int = 0
    snapshots: int = 0
    snapshot_count: int = 0
    active: int | None = None
    images: int = 0
    containers: int = 0
    budget: Budget = Budget()
