"""What a look at a fleet has found: values, and the document of `--json`. Sizes in bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import Factory, asdict, field, frozen

_NOT_COMPARED: Final = frozenset({"image"})  # its digest is


@frozen
class ContainerLine:
    """A container. `config` is a digest of what it was asked to be, but for the image; `settings` is that."""

    namespace: str
    name: str
    image: str
    image_digest: str
    status: str
    health: str = ""
    exit_code: int | None = None
    oom_killed: bool = False
    memory: float | None = None
    started_at: str = ""
    config: str = ""
    settings: Mapping[str, Any] = field(factory=dict, repr=False)  # may hold secrets: never printed

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


@frozen
class ImageLine:
    namespace: str
    name: str
    digest: str
    size: int
    platform: str = ""
    unpacked: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


@frozen
class Pull:
    """A pull that the agent remembers, or an `apply` with several things in it (`alone` is false)."""

    images: tuple[str, ...]
    seconds: float
    bytes: int = 0
    at: str = ""
    alone: bool = True


@frozen
class Action:
    """What it would take to have a node as it is desired to be."""

    verb: str
    object: str
    reason: str = ""


@frozen
class NodeView:
    """One node. With `error` set it wasn't reached or didn't answer as it should; nothing else is known.

    `seconds` is how long the look took. `actions` are None unless a desired state was given.
    """

    name: str
    groups: tuple[str, ...] = ()
    address: str = ""
    error: str = ""
    seconds: float = 0.0
    version: str = ""
    python: str = ""
    kernel: str = ""
    platform: str = ""
    uptime: float = 0.0
    agent_memory: float | None = None
    cordoned: bool = False
    cordon_reason: str = ""
    containers: tuple[ContainerLine, ...] = ()
    images: tuple[ImageLine, ...] = ()
    pulls: tuple[Pull, ...] = ()
    actions: tuple[Action, ...] | None = None

    @property
    def reached(self) -> bool:
        return not self.error

    @property
    def running(self) -> int:
        return sum(container.status == "running" for container in self.containers)

    @property
    def memory(self) -> float | None:
        """The agent's memory and its containers', None where the host doesn't count it."""
        known = [container.memory for container in self.containers if container.memory is not None]
        parts = known if self.agent_memory is None else [*known, self.agent_memory]
        return sum(parts) if parts else None


@frozen
class Drift:
    """One way in which a node isn't as it should be. `kind`: version, image, container, state."""

    node: str
    kind: str
    namespace: str
    name: str
    reason: str


@frozen
class FleetView:
    """All of a look, as it was at `taken_at`."""

    taken_at: str
    nodes: tuple[NodeView, ...]
    drift: tuple[Drift, ...] = Factory(tuple)

    @property
    def unreached(self) -> list[NodeView]:
        return [node for node in self.nodes if not node.reached]

    @property
    def reached(self) -> list[NodeView]:
        return [node for node in self.nodes if node.reached]


def document(value: Any) -> Any:
    """Return a view as JSON values; settings, which may hold secrets, are left out."""
    return asdict(value, filter=lambda attribute, _: attribute.name != "settings", value_serializer=_plain)


def _plain(_instance: object, _attribute: object, value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def digest_of(settings: Mapping[str, Any]) -> str:
    """Return a short digest of what a container was asked to be, but for its image; "" of nothing."""
    compared = {key: value for key, value in settings.items() if key not in _NOT_COMPARED}
    if not compared:
        return ""
    text = json.dumps(compared, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fields_that_differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of what two containers were asked to be differently, but for the image."""
    names = (one.keys() | other.keys()) - _NOT_COMPARED
    return sorted(name for name in names if one.get(name) != other.get(name))
