from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tricorn.model.records import Container
from tricorn.rules.order import AFTER, Order, after, waves


def key(name: str) -> tuple[str, str]:
    return "n", name


def needs(**names: str) -> dict[tuple[str, str], tuple[tuple[str, str], ...]]:
    return {key(name): tuple(key(other) for other in others.split()) for name, others in names.items()}


def test_the_label_names_containers_of_the_same_namespace() -> None:
    assert after("n", Container("web", labels={AFTER: "db, cache,"})) == (key("db"), key("cache"))
    assert after("n", Container("db")) == ()


def test_waves() -> None:
    found = waves(needs(web="db cache", db="", cache="db", alone="nobody web-not", log="log"))
    assert found == [[key("alone"), key("db"), key("log")], [key("cache")], [key("web")]]
    assert waves({}) == []


def test_who_waits_for_each_other_goes_last_and_together() -> None:
    assert waves(needs(a="b", b="a", c="a", d="")) == [[key("d")], [key("a"), key("b"), key("c")]]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=4).map(" ".join))
)
def test_everybody_is_in_one_wave(graph: dict[str, str]) -> None:
    found = waves(needs(**graph))
    everybody = [one for wave in found for one in wave]
    assert sorted(everybody) == sorted(key(name) for name in graph)
    assert all(found)


def test_waiting_for_those_that_come_and_for_ailing_ones() -> None:
    order = Order(
        needs(web="db cache", api="old", a="b", b="a", me="me"),
        {key("db"), key("web"), key("a"), key("b"), key("me")},
        {key("old")},
    )
    waiting = {name for name in ("web", "db", "api", "a", "b", "me", "new") if order.waits(key(name))}
    assert waiting == {"web", "api"}  # who waits for each other doesn't wait
