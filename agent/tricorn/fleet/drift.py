"""In what a fleet's nodes differ: from a desired state, or from what most of them have. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tricorn.fleet.views import ContainerLine, Drift, ImageLine, NodeView, fields_that_differ

T = TypeVar("T", ContainerLine, ImageLine)


def from_state(nodes: Sequence[NodeView]) -> Iterator[Drift]:
    """Yield what each node's plan would change to be as desired, and agents of other versions than most."""
    yield from _versions(_reached(nodes))
    for node in _reached(nodes):
        for action in node.actions or ():
            namespace, _, name = action.object.rpartition("/container/")
            reason = f"{action.verb}: {action.reason}" if action.reason else action.verb
            yield Drift(node.name, "state", namespace, name or action.object, reason)


def between(nodes: Sequence[NodeView]) -> Iterator[Drift]:
    """Yield in what nodes differ from most of those that have the same thing.

    Agents: by version. Images of one name in one namespace: by digest. Containers of one name in one
    namespace: by the image's digest and by what they were asked to be. What a node hasn't at all is no drift:
    nodes have different jobs. Where no side has more nodes, the first in the inventory is the measure.
    """
    reached = _reached(nodes)
    yield from _versions(reached)
    for node, image, usual_image in _unusual(reached, lambda node: node.images, lambda image: image.digest):
        reason = f"{_short(image.digest)}, most have {_short(usual_image.digest)}"
        yield Drift(node.name, "image", image.namespace, image.name, reason)
    for node, container, usual in _unusual(
        reached, lambda node: node.containers, lambda one: f"{one.image_digest} {one.config}"
    ):
        yield Drift(
            node.name, "container", container.namespace, container.name, _difference(container, usual)
        )


def _reached(nodes: Sequence[NodeView]) -> list[NodeView]:
    return [node for node in nodes if node.reached]


def _versions(nodes: Sequence[NodeView]) -> Iterator[Drift]:
    usual = _most([node.version for node in nodes])
    for node in nodes:
        if node.version != usual:
            yield Drift(node.name, "version", "", "tricornd", f"{node.version}, most have {usual}")


def _unusual(
    nodes: Sequence[NodeView], things: Callable[[NodeView], Sequence[T]], look: Callable[[T], str]
) -> Iterator[tuple[NodeView, T, T]]:
    """Yield each thing that looks otherwise than most of its name do, and one of those."""
    by_key: dict[tuple[str, str], list[tuple[NodeView, T]]] = {}
    for node in nodes:
        for thing in things(node):
            by_key.setdefault(thing.key, []).append((node, thing))
    for holders in by_key.values():
        most = _most([look(thing) for _, thing in holders])
        usual = next(thing for _, thing in holders if look(thing) == most)
        yield from ((node, thing, usual) for node, thing in holders if look(thing) != most)


def _most(values: Sequence[str]) -> str:
    """Return the most frequent value, of equally frequent ones the first."""
    return Counter(values).most_common(1)[0][0] if values else ""


def _difference(container: ContainerLine, usual: ContainerLine) -> str:
    parts = []
    if container.image_digest != usual.image_digest:
        parts.append(f"image {_short(container.image_digest)}, most have {_short(usual.image_digest)}")
    if names := fields_that_differ(container.settings, usual.settings):
        parts.append(f"other {', '.join(names)}")
    return "; ".join(parts)


def _short(digest: str) -> str:
    return digest.rpartition(":")[2][:12] or "none"
