"""The fleet's page: what nodes say stays text, and nothing is loaded."""

from __future__ import annotations

from html.parser import HTMLParser

from attrs import evolve

from tricorn.cli import fleet_pictures as pictures
from tricorn.cli.fleet_page import page
from tricorn.cli.markup import Markup, element, joined
from tricorn.fleet.views import FleetView
from tricorn_testing.sample_fleets import HOSTILE, MIB, QUOTES, container, fleet

VOID = {"meta"}


class Outline(HTMLParser):
    """Remembers elements and attributes, and sees to it that all are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def test_hostile_names_stay_text() -> None:
    text = page(fleet(), HOSTILE)
    outline = Outline(text)
    assert not outline.names & {"script", "img", "link", "iframe", "object", "a"}
    assert not any(name.startswith("on") or name in {"src", "href"} for name in outline.attributes)
    assert HOSTILE not in text
    assert QUOTES not in text
    assert text.count("&lt;script&gt;") > 4


def test_nothing_is_loaded() -> None:
    text = page(fleet(), "Fleet")
    assert "default-src 'none'" in "".join(Outline(text).attributes["content"])
    for word in ("http:", "https:", "url(", "@import"):
        assert word not in text.replace("http-equiv", "")


def test_each_node_and_container_is_there_for_all_eyes() -> None:
    outline = Outline(page(fleet(), "Fleet"))
    assert outline.attributes["lang"] == {"en"}
    assert "2 of 6 containers of n2 run" in outline.attributes["aria-label"]
    assert {"Memory by node", "Pull times by image"} <= outline.attributes["aria-label"]
    assert outline.attributes["scope"] == {"col", "row"}


def test_a_cordoned_node_is_seen_to_be_with_its_reason() -> None:
    text = page(fleet(), "Fleet")
    assert "<b>2</b>cordoned" in text
    assert '<span class="tag cordoned">cordoned</span><span class="tag differs">differs</span>' in text
    assert "<p>Cordoned: new disks</p>" in text
    assert "<td>cordoned (new disks), differs</td>" in text
    open_ones = FleetView("", tuple(evolve(node, cordoned=False, cordon_reason="") for node in fleet().nodes))
    assert "cordoned</" not in page(open_ones, "Fleet")


def test_a_fleet_of_which_nothing_is_known() -> None:
    text = page(FleetView("2026-11-22T12:00:00+00:00", ()), "Fleet")
    for part in (
        "There are no nodes.",
        "No node tells what memory",
        "No agent remembers a pull",
        "No node differs.",
    ):
        assert part in text


def test_containers_are_drawn_as_what_they_are() -> None:
    kinds = {
        "running": container("a"), "paused": container("a", status="paused"),
        "created": container("a", status="created"), "stopped": container("a", status="no task"),
        "failed": container("a", status="stopped", exit_code=3),
    }  # fmt: skip
    assert {pictures.kind(item): name for name, item in kinds.items()} == {name: name for name in kinds}
    assert pictures.kind(container("a", health="unhealthy")) == "failed"
    assert pictures.kind(container("a", status="stopped", exit_code=0)) == "stopped"


def test_many_containers_share_the_last_slice_of_a_bar() -> None:
    node = fleet().nodes[0]
    crowded = evolve(node, containers=tuple(container(f"c{number}", memory=MIB) for number in range(100)))
    text = pictures.memory(FleetView("", (crowded,)))
    assert "88 more containers: 88.0 MiB" in text
    assert text.count("<rect") == 1 + 12 + 1


def test_axes_end_beyond_the_largest_in_round_steps() -> None:
    for largest in (0, 1, 900, 1023, 1024, 61.5 * MIB, 3.3e12):
        end, ticks = pictures.axis(largest, binary=True)
        assert end >= largest
        assert 2 <= len(ticks) <= 9
    for largest in (0, 0.0004, 0.02, 0.9, 1, 7.2, 99, 3600):
        end, ticks = pictures.axis(largest, binary=False)
        assert end >= largest
        assert 4 <= len(ticks) <= 11


def test_markup_is_made_by_elements_only() -> None:
    assert element("p", "<&\"'>", class_='a"b') == '<p class="a&quot;b">&lt;&amp;&quot;&#x27;&gt;</p>'
    assert joined(Markup("<b>"), "<b>", "\x1b") == "<b>&lt;b&gt;\N{REPLACEMENT CHARACTER}"
    assert element("svg", viewBox="0 0 1 1", aria_hidden="true", hidden=True, id=None) == (
        '<svg viewBox="0 0 1 1" aria-hidden="true" hidden></svg>'
    )
