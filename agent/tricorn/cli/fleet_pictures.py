"""The pictures of the fleet's page, as SVG: containers, memory, pull times. Colour is never the only sign."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from tricorn.cli.figures import size
from tricorn.cli.fleet_tables import status
from tricorn.cli.markup import Markup, element, joined
from tricorn.fleet.views import ContainerLine, FleetView, NodeView, Pull

_WIDTH: Final = 960
_LEFT: Final = 190
_ROW: Final = 26
_BAR: Final = 16
_CELL, _ACROSS = 22, 8
_NAME: Final = 26  # characters that fit beside a bar
_SLICES: Final = 12  # containers with a slice of their own in a bar; the smaller ones share the last
_PULLED: Final = 14  # images in the plot of pulls, the slowest
KINDS: Final = {
    "running": "running",
    "paused": "paused",
    "created": "created, not started",
    "stopped": "stopped",
    "failed": "failed or unhealthy",
}


def kind(item: ContainerLine) -> str:
    """Return as which of KINDS a container is drawn."""
    if item.health == "unhealthy" or item.oom_killed or (item.status == "stopped" and item.exit_code):
        return "failed"
    return item.status if item.status in KINDS else "stopped"


# ---------------------------------------------------------------- containers
def cells(node: NodeView) -> Markup:
    """Return a square for each container of a node, with its name and state for who points at it."""
    if not node.containers:
        return Markup()
    rows = math.ceil(len(node.containers) / _ACROSS)
    squares = [
        _cell(item, index % _ACROSS * _CELL, index // _ACROSS * _CELL)
        for index, item in enumerate(node.containers)
    ]
    label = f"{node.running} of {len(node.containers)} containers of {node.name} run"
    return element(
        "svg", *squares, viewBox=f"0 0 {_ACROSS * _CELL} {rows * _CELL}", role="img", aria_label=label
    )


def _cell(item: ContainerLine, x: float, y: float) -> Markup:
    memory = "" if item.memory is None else f", {size(item.memory)}"
    title = f"{item.namespace}/{item.name}: {status(item)}{memory}, {item.image}"
    return element("g", element("title", title), sign(kind(item)), transform=f"translate({x} {y})")


def sign(kind: str) -> Markup:
    """Return the square of a kind: filled, hollow, or with a mark in it."""
    marks = {"failed": "M6.5 6.5l7 7m0-7l-7 7", "paused": "M8 6.5v7m4-7v7", "created": "M10 6.5v7m-3.5-3.5h7"}
    square = element("rect", x=2, y=2, width=16, height=16, rx=4, class_=kind)
    return joined(square, element("path", d=marks[kind], class_="mark")) if kind in marks else square


def legend() -> Markup:
    """Return what the squares mean."""
    return element(
        "ul",
        *(
            element("li", element("svg", sign(name), viewBox="0 0 20 20", aria_hidden="true"), text)
            for name, text in KINDS.items()
        ),
        class_="legend",
    )


# ---------------------------------------------------------------- memory
def memory(view: FleetView) -> Markup:
    """Return a bar for each node: the agent's memory, then its containers', the largest first."""
    known = [(node, node.memory) for node in view.reached]
    shown = [(node, used) for node, used in known if used]
    if not shown:
        return element("p", "No node tells what memory it uses.", class_="soft")
    end, ticks = axis(max(used for _, used in shown), binary=True)
    height = len(shown) * _ROW + 30
    bars = [part for row, (node, used) in enumerate(shown) for part in _bar(node, used, row * _ROW, end)]
    return _plot(_scale(ticks, end, height - 30, size), bars, height, "Memory by node")


def _bar(node: NodeView, used: float, y: float, end: float) -> Iterator[Markup]:
    yield _row_name(node.name, y)
    x = float(_LEFT)
    for name, amount, shade in _slices(node):
        width = amount / end * (_WIDTH - _LEFT - 90)
        title = element("title", f"{name}: {size(amount)}")
        yield element(
            "rect", title, x=f"{x:.1f}", y=y + 5, width=f"{max(width - 1, 0.5):.1f}", height=_BAR, rx=2,
            class_=shade,
        )  # fmt: skip
        x += width
    yield element("text", size(used), x=f"{x + 6:.1f}", y=y + 18, class_="soft")


def _slices(node: NodeView) -> Iterator[tuple[str, float, str]]:
    if node.agent_memory:
        yield "tricornd", node.agent_memory, "agent"
    known = [(f"{item.namespace}/{item.name}", item.memory) for item in node.containers]
    largest = sorted(((name, used) for name, used in known if used), key=lambda pair: -pair[1])
    for name, used in largest[:_SLICES]:
        yield name, used, "share"
    if rest := largest[_SLICES:]:
        yield f"{len(rest)} more containers", sum(used for _, used in rest), "share"


# ---------------------------------------------------------------- pulls
def pulls(view: FleetView) -> Markup:
    """Return a dot for each pull that the agents remember: a row for each image, the slowest first."""
    rows: dict[str, list[tuple[NodeView, Pull]]] = {}
    for node in view.reached:
        for pull in node.pulls:
            rows.setdefault(_pulled(pull), []).append((node, pull))
    if not rows:
        return element("p", "No agent remembers a pull: they forget them when they start.", class_="soft")
    slowest = sorted(rows.items(), key=lambda row: -max(pull.seconds for _, pull in row[1]))[:_PULLED]
    end, ticks = axis(max(pull.seconds for _, found in slowest for _, pull in found), binary=False)
    height = len(slowest) * _ROW + 30
    dots = [part for row, (name, found) in enumerate(slowest) for part in _dots(name, found, row * _ROW, end)]
    return _plot(_scale(ticks, end, height - 30, _seconds), dots, height, "Pull times by image")


def _pulled(pull: Pull) -> str:
    more = len(pull.images) - 1
    return f"{pull.images[0]} and {more} more" if more else pull.images[0]


def _dots(name: str, found: Sequence[tuple[NodeView, Pull]], y: float, end: float) -> Iterator[Markup]:
    yield _row_name(name, y, tail=True)
    for node, pull in found:
        x = _LEFT + pull.seconds / end * (_WIDTH - _LEFT - 90)
        fetched = f", {size(pull.bytes)} fetched" if pull.alone else ", among other things of an apply"
        title = element("title", f"{node.name}: {name} in {_seconds(pull.seconds)}{fetched}")
        yield element(
            "circle", title, cx=f"{x:.1f}", cy=y + 13, r=5, class_="alone" if pull.alone else "among"
        )


def _seconds(value: float) -> str:
    return (
        f"{value * 1000:.0f} ms"
        if value < 1
        else f"{value:g} s"
        if value == round(value)
        else f"{value:.1f} s"
    )


# ---------------------------------------------------------------- axes
def axis(largest: float, *, binary: bool) -> tuple[float, list[float]]:
    """Return the end of an axis and its ticks: four to eight round numbers."""
    largest = max(largest, 1.0 if binary else 0.001)
    step = (
        1024.0 ** max(math.floor(math.log(largest, 1024)), 0)
        if binary
        else 10.0 ** math.floor(math.log10(largest))
    )
    factors = (
        (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32, 64, 128)
        if binary
        else (0.2, 0.5, 1, 2)
    )
    step *= next((factor for factor in factors if largest / (step * factor) <= 8), factors[-1])
    count = math.ceil(largest / step)
    return step * count, [step * number for number in range(count + 1)]


def _scale(ticks: Sequence[float], end: float, height: float, text: object) -> list[Markup]:
    assert callable(text)
    made = []
    for tick in ticks:
        x = f"{_LEFT + tick / end * (_WIDTH - _LEFT - 90):.1f}"
        made.append(element("line", x1=x, x2=x, y1=0, y2=height, class_="base" if tick == 0 else "grid"))
        label = str(text(tick)) if tick else "0"
        made.append(element("text", label, x=x, y=height + 20, text_anchor="middle", class_="soft"))
    return made


def _row_name(name: str, y: float, *, tail: bool = False) -> Markup:
    """Return the name at a row's left end, shortened where it says least; whole for who points at it."""
    short = name
    if len(name) > _NAME:
        short = "…" + name[1 - _NAME :] if tail else name[: _NAME - 1] + "…"
    return element("text", element("title", name), short, x=_LEFT - 10, y=y + 18, text_anchor="end")


def _plot(scale: Sequence[Markup], marks: Sequence[Markup], height: float, label: str) -> Markup:
    return element("svg", *scale, *marks, viewBox=f"0 0 {_WIDTH} {height}", role="img", aria_label=label)
