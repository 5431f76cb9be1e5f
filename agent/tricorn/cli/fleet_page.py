"""A fleet on one HTML page: nothing is loaded, nothing is executed, all that nodes say is text."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final

from tricorn.cli import fleet_pictures as pictures
from tricorn.cli.figures import duration, short_digest, size
from tricorn.cli.fleet_style import STYLE
from tricorn.cli.fleet_tables import image_holders, state, status
from tricorn.cli.markup import Markup, element, joined
from tricorn.fleet.views import FleetView, NodeView

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_NUMBERS: Final = frozenset({"Memory", "Agent's memory", "Size", "Running", "Images", "Asked in"})
_SHADES: Final = {"Digest": "digest", "Address": "whole", "Up": "whole"}


def page(view: FleetView, title: str) -> str:
    """Return the whole document."""
    head = element(
        "head", element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title), element("style", Markup(STYLE)),
    )  # fmt: skip
    body = element("body", _header(view, title), element("main", *_sections(view)), _footer())
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _header(view: FleetView, title: str) -> Markup:
    containers = [item for node in view.nodes for item in node.containers]
    running = sum(node.running for node in view.nodes)
    used = [used for node in view.reached if (used := node.memory)]
    versions = sorted({node.version for node in view.reached})
    tiles = (
        (f"{len(view.reached)} of {len(view.nodes)}", "nodes answer", bool(view.unreached)),
        (f"{running} of {len(containers)}", "containers run", False),
        (str(len(image_holders(view))), "images", False),
        (size(sum(used)) if used else "-", "memory", False),
        (", ".join(versions) or "-", "agent" if len(versions) < 2 else "agents", len(versions) > 1),
        (str(len(view.drift)), "differences", bool(view.drift)),
        *(
            [(str(cordoned), "cordoned", False)]
            if (cordoned := sum(node.cordoned for node in view.nodes))
            else ()
        ),
    )
    made = [
        element("li", element("b", figure), text, class_="bad" if bad else None)
        for figure, text, bad in tiles
    ]
    when = element("p", f"As of {view.taken_at.replace('T', ' ')}", class_="soft")
    return element("header", element("h1", title), when, element("ul", *made, class_="tiles"))


def _sections(view: FleetView) -> Iterable[Markup]:
    if view.unreached:
        lost = (element("p", element("strong", node.name), f": {node.error}") for node in view.unreached)
        yield element("div", *lost, class_="alarm", role="alert")
    drifted = {item.node for item in view.drift}
    cards = (_card(node, drifts=node.name in drifted) for node in view.nodes)
    yield _section("Nodes and containers", element("ul", *cards, class_="nodes"), pictures.legend())
    yield _section("Memory", element("div", pictures.memory(view), class_="panel"), _memory_legend())
    yield _section("Pull times", element("div", pictures.pulls(view), class_="panel"), _pull_legend())
    yield _section("Differences", _drift(view))
    yield _section("Nodes", _nodes(view, drifted))
    yield _section("Containers", _containers(view))
    yield _section("Images", _images(view))


def _section(title: str, *content: Markup) -> Markup:
    return element("section", element("h2", title), *content)


def _card(node: NodeView, *, drifts: bool) -> Markup:
    tags = element("span", *_tags(node, drifts=drifts), class_="tags")
    head = element("h3", element("span", node.name), tags)
    told = node.address if not node.reached else f"{len(node.containers)} containers, {_size(node.memory)}"
    why = element("p", f"Cordoned: {node.cordon_reason}") if node.cordon_reason else ""
    text = element("p", told, class_="soft")
    return element("li", head, pictures.cells(node), text, why, class_=_card_class(node))


def _tags(node: NodeView, *, drifts: bool) -> Iterable[Markup]:
    words = ["cordoned"] * node.cordoned + ["differs"] * drifts if node.reached else ["lost"]
    return [element("span", word, class_=f"tag {word}") for word in words or ["ok"]]


def _card_class(node: NodeView) -> str:
    return "card lost" if not node.reached else "card cordoned" if node.cordoned else "card"


def _memory_legend() -> Markup:
    return _shades((("agent", "tricornd"), ("share", "a container; small ones share a slice")))


def _pull_legend() -> Markup:
    return _shades(
        (("alone", "one pull on one node"), ("among", "an apply that pulled it, all it did included"))
    )


def _shades(shades: Iterable[tuple[str, str]]) -> Markup:
    made = (
        element(
            "li", element("svg", element("circle", cx=10, cy=10, r=7, class_=shade), viewBox="0 0 20 20",
            aria_hidden="true"), text,
        )
        for shade, text in shades
    )  # fmt: skip
    return element("ul", *made, class_="legend")


# ---------------------------------------------------------------- tables
def _drift(view: FleetView) -> Markup:
    rows = [(item.node, item.kind, item.namespace, item.name, item.reason) for item in view.drift]
    return _table(("Node", "Kind", "Namespace", "Name", "Difference"), rows, "No node differs.")


def _nodes(view: FleetView, drifted: Container[str]) -> Markup:
    rows = [
        (
            node.name, node.address, ", ".join(node.groups), node.version or "-",
            *(_counts(node) if node.reached else ("-",) * 4), node.kernel, f"{node.seconds * 1000:.0f} ms",
            state(node, drifts=node.name in drifted),
        )
        for node in view.nodes
    ]  # fmt: skip
    columns = (
        "Node", "Address", "Groups", "Agent", "Running", "Images", "Agent's memory", "Up", "Kernel",
        "Asked in", "State",
    )  # fmt: skip
    return _table(columns, rows, "There are no nodes.")


def _counts(node: NodeView) -> tuple[str, ...]:
    running = f"{node.running} of {len(node.containers)}"
    return running, str(len(node.images)), _size(node.agent_memory), duration(node.uptime)


def _containers(view: FleetView) -> Markup:
    rows = [
        (
            node.name, item.namespace, item.name, item.image, short_digest(item.image_digest), status(item),
            _size(item.memory),
        )
        for node in view.nodes for item in node.containers
    ]  # fmt: skip
    columns = ("Node", "Namespace", "Container", "Image", "Digest", "State", "Memory")
    return _table(columns, rows, "There are no containers.")


def _images(view: FleetView) -> Markup:
    rows = [
        (image.namespace, image.name, short_digest(image.digest), size(image.size), ", ".join(holders))
        for image, holders in image_holders(view)
    ]
    return _table(("Namespace", "Image", "Digest", "Size", "On"), rows, "There are no images.")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> Markup:
    if not rows:
        return element("p", empty, class_="soft")
    shades = [_shade(name) for name in columns]
    head = element(
        "tr",
        *(
            element("th", name, scope="col", class_=shade)
            for name, shade in zip(columns, shades, strict=True)
        ),
    )
    body = (_row(row, shades) for row in rows)
    made = element("table", element("thead", head), element("tbody", *body))
    return element("div", made, class_="panel", tabindex="0", role="region")


def _row(row: Sequence[str], shades: Sequence[str | None]) -> Markup:
    first = element("th", row[0], scope="row")
    rest = (element("td", cell, class_=shade) for cell, shade in zip(row[1:], shades[1:], strict=True))
    return element("tr", first, *rest)


def _shade(column: str) -> str | None:
    return "number" if column in _NUMBERS else _SHADES.get(column)


def _size(count: float | None) -> str:
    return "-" if count is None else size(count)


def _footer() -> Markup:
    return element("footer", joined("Made by ", element("code", "tricorn fleet report"), "."))
