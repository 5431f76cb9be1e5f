"""A node's whole desired state, in one document."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, frozen

from tricorn.model.networks import NetworkDesired
from tricorn.model.requests import ContainerDesired, ImageDesired


@frozen
class NamespaceState:
    """What one namespace shall hold. Labels, images and containers that aren't named stay, but with `prune`
    other containers go.
    """

    labels: Mapping[str, str] = Factory(dict)
    images: tuple[ImageDesired, ...] = ()
    containers: Mapping[str, ContainerDesired] = Factory(dict)
    prune: bool = False


@frozen
class NodeState:
    """Body of `PUT /v1/apply`: namespaces and networks by name. At most `parallel` parts at a time."""

    namespaces: Mapping[str, NamespaceState] = Factory(dict)
    networks: Mapping[str, NetworkDesired] = Factory(dict)
    parallel: int = 4
