"""In which order a node's desired state is brought about. Pure.

Networks and namespaces come first, then images; containers go before others come, who may want their ports,
and start after those that their labels name. Images and networks go last, when nobody uses them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from attrs import evolve, frozen

from tricorn.errors import InvalidArgument
from tricorn.model.networks import NetworkDesired
from tricorn.model.node_states import NamespaceState, NodeState
from tricorn.model.requests import Action, Change, ContainerDesired, ImageDesired
from tricorn.rules import order

Kind = Literal["network", "namespace", "image", "container"]
Wanted = NetworkDesired | NamespaceState | ImageDesired | ContainerDesired


@frozen
class Part:
    """One thing of the desired state; a container that only `prune` names is wanted absent."""

    kind: Kind
    namespace: str
    name: str
    wanted: Wanted

    @property
    def goes(self) -> bool:
        return getattr(self.wanted, "state", "") == "absent"

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def waves(state: NodeState, present: Mapping[str, Collection[str]]) -> list[list[Part]]:
    """Return what is to be done together, wave by wave; `present` are the containers by namespace.

    InvalidArgument for an image that is described twice.
    """
    networks = [Part("network", "", name, wanted) for name, wanted in sorted(state.networks.items())]
    namespaces = [Part("namespace", "", name, wanted) for name, wanted in sorted(state.namespaces.items())]
    images = list(_images(state))
    containers = list(_containers(state, present))
    found = [
        [part for part in networks if not part.goes],
        namespaces,
        [part for part in images if not part.goes],
        [part for part in containers if part.goes],
        *_started([part for part in containers if not part.goes]),
        [part for part in images if part.goes],
        [part for part in networks if part.goes],
    ]
    return [wave for wave in found if wave]


def _images(state: NodeState) -> Iterator[Part]:
    for namespace, held in sorted(state.namespaces.items()):
        seen: set[str] = set()
        for image in held.images:
            if image.reference in seen:
                raise InvalidArgument(
                    f"image {image.reference} is described twice in namespace {namespace}", field="images"
                )
            seen.add(image.reference)
            yield Part("image", namespace, image.reference, image)


def _containers(state: NodeState, present: Mapping[str, Collection[str]]) -> Iterator[Part]:
    for namespace, held in sorted(state.namespaces.items()):
        for name, wanted in sorted(held.containers.items()):
            yield Part("container", namespace, name, wanted)
        if held.prune:
            for name in sorted(set(present.get(namespace, ())) - set(held.containers)):
                yield Part("container", namespace, name, ContainerDesired("", state="absent"))


def _started(parts: Sequence[Part]) -> list[list[Part]]:
    by_key = {(part.namespace, part.name): part for part in parts}
    needs = {
        key: order.named(part.namespace, part.wanted.labels)
        for key, part in by_key.items()
        if isinstance(part.wanted, ContainerDesired)
    }
    return [[by_key[key] for key in wave] for wave in order.waves(needs)]


def merged(changes: Sequence[tuple[Part, Change]]) -> Change:
    """Return the change of the whole: `before` and `after` hold what changes, by kind and name."""
    before: dict[str, dict[str, object]] = {}
    after: dict[str, dict[str, object]] = {}
    actions: list[Action] = []
    for part, change in changes:
        if change.changed:
            before.setdefault(f"{part.kind}s", {})[part.key] = dict(change.before)
            after.setdefault(f"{part.kind}s", {})[part.key] = dict(change.after)
            prefix = f"{part.namespace}/" if part.namespace else ""
            actions += [evolve(action, object=prefix + action.object) for action in change.actions]
    warnings = tuple(f"{part.key}: {text}" for part, change in changes for text in change.warnings)
    return Change(any(change.changed for _, change in changes), tuple(actions), before, after, warnings)
