"""In which order containers start and stop together: each after those that its label names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from tricorn.model.records import Container

AFTER: Final = "tricorn.io/after"  # names of containers of the same namespace, with commas between
Key = tuple[str, str]  # namespace, container


def after(namespace: str, container: Container) -> tuple[Key, ...]:
    """Return what a container is to be started after, and stopped before."""
    return named(namespace, container.labels)


def named(namespace: str, labels: Mapping[str, str]) -> tuple[Key, ...]:
    """Return what the labels of a container name for that."""
    names = labels.get(AFTER, "").split(",")
    return tuple((namespace, name.strip()) for name in names if name.strip())


def waves(wanted: Mapping[Key, Collection[Key]]) -> list[list[Key]]:
    """Return who starts together, wave by wave; stopping goes the other way. What names nobody here, or only
    those of earlier waves, is ready; who waits for each other goes last, all at once.
    """
    left = {key: {other for other in others if other in wanted} - {key} for key, others in wanted.items()}
    found: list[list[Key]] = []
    while left:
        ready = sorted(key for key, others in left.items() if not others) or sorted(left)
        found.append(ready)
        left = {key: others.difference(ready) for key, others in left.items() if key not in set(ready)}
    return found


class Order:
    """Who has to wait before it is started: for those it comes after, while they are `coming` up (unless they
    wait for it as well) or are `ailing`, that is not healthy yet.
    """

    def __init__(
        self, needs: Mapping[Key, Collection[Key]], coming: Collection[Key], ailing: Collection[Key]
    ) -> None:
        self._needs = needs
        self._ailing = ailing
        found = waves({key: needs.get(key, ()) for key in coming})
        self._wave = {key: number for number, wave in enumerate(found) for key in wave}

    def waits(self, key: Key) -> bool:
        own = self._wave.get(key, len(self._wave))
        return any(
            other in self._ailing or self._wave.get(other, own) < own
            for other in self._needs.get(key, ())
            if other != key
        )
