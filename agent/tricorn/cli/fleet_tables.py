"""The tables of `tricorn fleet`, and their JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tricorn.cli.figures import age, duration, short_digest, size
from tricorn.cli.output import table
from tricorn.fleet.views import ContainerLine, FleetView, ImageLine, NodeView, document


def nodes(view: FleetView) -> None:
    """Print a line for each node, reached or not."""
    drifted = {item.node for item in view.drift}
    columns = ("NODE", "ADDRESS", "AGENT", "RUNNING", "IMAGES", "MEMORY", "UP", "STATE")
    table(columns, (_node(node, drifts=node.name in drifted) for node in view.nodes))


def _node(node: NodeView, *, drifts: bool) -> tuple[str, ...]:
    address = node.address or "-"
    if not node.reached:
        return node.name, address, "-", "-", "-", "-", "-", state(node, drifts=drifts)
    return (
        node.name, address, node.version, f"{node.running}/{len(node.containers)}", str(len(node.images)),
        _size(node.memory), duration(node.uptime), state(node, drifts=drifts),
    )  # fmt: skip


def state(node: NodeView, *, drifts: bool) -> str:
    """Return a node's state in a few words: `ok`, `cordoned (new disks), differs`, `not reached`."""
    if not node.reached:
        return "not reached"
    reason = f" ({node.cordon_reason})" if node.cordon_reason else ""
    found = [f"cordoned{reason}"] if node.cordoned else []
    return ", ".join([*found, *(["differs"] if drifts else [])]) or "ok"


def nodes_document(view: FleetView) -> Any:
    """Return an array of all that is known of each node."""
    return document(view)["nodes"]


def containers(view: FleetView) -> None:
    """Print a line for each container."""
    columns = ("NODE", "NAMESPACE", "ID", "IMAGE", "STATUS", "MEMORY", "STARTED")
    table(columns, (_container(node.name, item) for node in view.nodes for item in node.containers))


def _container(node: str, item: ContainerLine) -> tuple[str, ...]:
    return (
        node, item.namespace, item.name, item.image, status(item), _size(item.memory), age(item.started_at)
    )  # fmt: skip


def status(item: ContainerLine) -> str:
    """Return a container's state in a word or two: `running (unhealthy)`, `stopped (137)`."""
    if item.status == "stopped" and item.exit_code is not None:
        return f"stopped ({'out of memory' if item.oom_killed else item.exit_code})"
    return f"{item.status} ({item.health})" if item.health else item.status


def containers_document(view: FleetView) -> Any:
    return [{"node": node.name, **document(item)} for node in view.nodes for item in node.containers]


def images(view: FleetView) -> None:
    """Print a line for each image in each of its versions, with the nodes that have it."""
    rows = (
        (
            image.namespace, image.name, short_digest(image.digest), size(image.size),
            _names(holders, len(view.reached)),
        )
        for image, holders in image_holders(view)
    )  # fmt: skip
    table(("NAMESPACE", "IMAGE", "DIGEST", "SIZE", "NODES"), rows)


def image_holders(view: FleetView) -> list[tuple[ImageLine, list[str]]]:
    """Return each image by namespace, name and digest with the names of the nodes that have it."""
    found: dict[tuple[str, str, str], tuple[ImageLine, list[str]]] = {}
    for node in view.nodes:
        for image in node.images:
            found.setdefault((*image.key, image.digest), (image, []))[1].append(node.name)
    return [found[key] for key in sorted(found)]


def _names(holders: Sequence[str], count: int) -> str:
    return f"all {count}" if len(holders) == count > 1 else ", ".join(holders)


def images_document(view: FleetView) -> Any:
    return [{**document(image), "nodes": holders} for image, holders in image_holders(view)]


def drift(view: FleetView) -> None:
    """Print a line for each difference, or that there is none."""
    if not view.drift:
        count = len(view.reached)
        click.echo(f"no drift among {count} node{'s' * (count != 1)}")
        return
    rows = ((item.node, item.kind, item.namespace or "-", item.name, item.reason) for item in view.drift)
    table(("NODE", "KIND", "NAMESPACE", "NAME", "DIFFERENCE"), rows)


def drift_document(view: FleetView) -> Any:
    return document(view)["drift"]


def fleet_document(view: FleetView) -> Any:
    """Return all of it."""
    return document(view)


def _size(count: float | None) -> str:
    return "-" if count is None else size(count)
