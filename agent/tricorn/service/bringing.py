"""The images that are on their way to this node, so that other nodes can wait for what they want of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tricorn.model.oci import Descriptor


class Bringing:
    """What is being pulled, by namespace and repository; the same image may be there more than once."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], list[Descriptor]] = {}

    @contextmanager
    def target(self, namespace: str, repository: str, target: Descriptor) -> Iterator[None]:
        """Tell of an image of `repository` for as long as the context is open."""
        key = (namespace, repository)
        self._targets.setdefault(key, []).append(target)
        try:
            yield
        finally:
            self._targets[key].remove(target)
            if not self._targets[key]:
                del self._targets[key]

    def of(self, namespace: str, repository: str) -> list[Descriptor]:
        """Return the images of a repository that are on their way now."""
        return list(self._targets.get((namespace, repository), ()))
