"""In what nodes differ, from each other and from what is desired."""

from __future__ import annotations

from attrs import evolve

from tricorn.fleet.drift import between, from_state
from tricorn.fleet.views import Action, ImageLine, NodeView
from tricorn_testing.sample_fleets import ONE, OTHER, container


def node(name: str, *containers: str, version: str = "1", digest: str = ONE, **fields: object) -> NodeView:
    images = (ImageLine("shop", "web:1", digest, 1),)
    made = NodeView(
        name, version=version, images=images, containers=tuple(container(each) for each in containers)
    )
    return evolve(made, **fields)


def test_nodes_that_have_the_same_do_not_differ() -> None:
    assert list(between([node("a", "web"), node("b", "web"), node("c")])) == []


def test_an_agent_of_another_version_than_most() -> None:
    (found,) = between([node("a"), node("b", version="2"), node("c")])
    assert (found.node, found.kind, found.reason) == ("b", "version", "2, most have 1")


def test_an_image_of_another_digest_than_most() -> None:
    (found,) = between([node("a", digest=OTHER), node("b"), node("c")])
    assert (found.node, found.kind, found.namespace, found.name) == ("a", "image", "shop", "web:1")
    assert found.reason == "222222222222, most have 111111111111"


def test_of_two_the_first_is_the_measure() -> None:
    (found,) = between([node("a"), node("b", digest=OTHER)])
    assert found.node == "b"


def test_a_container_of_another_image_or_other_settings() -> None:
    other = container("web", image_digest=OTHER, settings={"env": {"A": "x"}, "args": ["x"]}, config="x")
    (found,) = between([node("a", "web"), node("b", containers=(other,)), node("c", "web")])
    assert (found.node, found.kind, found.name) == ("b", "container", "web")
    assert found.reason == "image 222222222222, most have 111111111111; other args, env"


def test_the_same_name_in_another_namespace_is_another_container() -> None:
    other = container("web", namespace="lab", image_digest=OTHER)
    assert list(between([node("a", "web"), node("b", containers=(other,))])) == []


def test_nodes_that_were_not_reached_count_for_nothing() -> None:
    lost = NodeView("b", error="gone")
    assert list(between([lost, node("a", version="2")])) == []
    assert list(from_state([lost])) == []


def test_what_a_plan_would_change_is_drift() -> None:
    actions = (
        Action("create", "shop/container/web", "no such container"),
        Action("create", "namespace/shop"),
    )
    first, second = from_state([node("a", actions=actions), node("b", actions=())])
    assert (first.node, first.kind, first.namespace, first.name) == ("a", "state", "shop", "web")
    assert first.reason == "create: no such container"
    assert (second.name, second.reason) == ("namespace/shop", "create")
