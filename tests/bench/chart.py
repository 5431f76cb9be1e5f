"""The picture of the pulls: a bar of wall time for each side, CPU time as a line in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

_COLOURS: Final = {
    "tricorn": "#2a6f97",
    "containerd 2": "#c9772b",
    "containerd 2, parallel": "#e0a96d",
    "curl, sha256sum, tar": "#7d9d7a",
    "floor": "#9aa0a6",
}
_LEFT, _WIDTH, _BAR, _GAP, _TOP = 190, 560, 13, 14, 58


def draw(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return an SVG of all pulls among the measurements; nothing if there is none."""
    pulls = [document for document in documents if document["name"].startswith("pull-")]
    if not pulls:
        return ""
    longest = max(series["median"] for pull in pulls for _, series in _shown(pull))
    parts: list[str] = []
    y = _TOP
    for pull in pulls:
        middle = y + len(list(_shown(pull))) * _BAR / 2 + 4
        title = escape(str(pull["title"]).removeprefix("pull + unpack of "))
        parts.append(f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{title}</text>')
        for name, series in _shown(pull):
            parts.extend(_bar(name, series, y, _WIDTH / longest))
            y += _BAR
        y += _GAP
    size = f'width="{_LEFT + _WIDTH + 70}" height="{y}" viewBox="0 0 {_LEFT + _WIDTH + 70} {y}"'
    style = "text{font:11px sans-serif;fill:#555}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>',
            *_legend(),
            *parts,
            "</svg>\n",
        ]
    )


def _shown(pull: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, series in pull["series"].items():
        if name in _COLOURS:
            yield name, series


def _bar(name: str, series: Mapping[str, Any], y: float, scale: float) -> Iterator[str]:
    width = series["median"] * scale
    yield f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" fill="{_COLOURS[name]}"/>'
    if series["median_cpu"]:
        x = _LEFT + series["median_cpu"] * scale
        yield f'<path d="M{x:.1f} {y}v{_BAR - 2}" stroke="#222" stroke-width="1.5"/>'
    yield f'<text x="{_LEFT + width + 6:.1f}" y="{y + _BAR - 3}">{series["median"]:.2f} s</text>'


def _legend() -> Iterator[str]:
    yield f'<text x="{_LEFT}" y="16">pull + unpack: wall time in seconds; the mark is CPU time</text>'
    x = _LEFT
    for name, colour in _COLOURS.items():
        yield f'<rect x="{x}" y="28" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 14}" y="37">{escape(name)}</text>'
        x += 30 + 7 * len(name)
