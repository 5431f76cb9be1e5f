"""The order in which a node's desired state is brought about."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import InvalidArgument
from tricorn.model.networks import NetworkDesired
from tricorn.model.node_states import NamespaceState, NodeState
from tricorn.model.requests import Action, Change, ContainerDesired, ImageDesired
from tricorn.rules.node_plan import Part, merged, waves
from tricorn.rules.order import AFTER

NAMES = st.sampled_from("abcdef")
STATES = st.sampled_from(["present", "absent"])
CONTAINERS = st.dictionaries(
    NAMES,
    st.builds(
        lambda state, after: ContainerDesired("i", state=state, labels={AFTER: ",".join(after)}),
        st.sampled_from(["present", "started", "stopped", "absent"]),
        st.sets(NAMES, max_size=2),
    ),
)
NAMESPACES = st.dictionaries(
    NAMES,
    st.builds(
        lambda images, containers, prune: NamespaceState(
            images=tuple(ImageDesired(name, state) for name, state in images.items()),
            containers=containers,
            prune=prune,
        ),
        st.dictionaries(NAMES, STATES),
        CONTAINERS,
        st.booleans(),
    ),
    max_size=3,
)
NODES = st.builds(
    lambda namespaces, networks: NodeState(
        namespaces, {name: NetworkDesired(state) for name, state in networks.items()}
    ),
    NAMESPACES,
    st.dictionaries(NAMES, STATES),
)
PRESENT = st.dictionaries(NAMES, st.sets(NAMES))


def named(state: NodeState) -> set[tuple[str, str, str]]:
    found = {("network", "", name) for name in state.networks}
    for namespace, held in state.namespaces.items():
        found.add(("namespace", "", namespace))
        found |= {("image", namespace, image.reference) for image in held.images}
        found |= {("container", namespace, name) for name in held.containers}
    return found


@given(NODES, PRESENT)
def test_everything_has_its_one_turn(state: NodeState, present: dict[str, set[str]]) -> None:
    parts = [part for wave in waves(state, present) for part in wave]
    turns = [(part.kind, part.namespace, part.name) for part in parts]
    assert len(turns) == len(set(turns))
    extra = {
        ("container", namespace, name)
        for namespace, held in state.namespaces.items() if held.prune
        for name in present.get(namespace, set()) - set(held.containers)
    }  # fmt: skip
    assert set(turns) == named(state) | extra
    assert all(part.goes for part in parts if (part.kind, part.namespace, part.name) in extra)


@given(NODES, PRESENT)
def test_what_others_need_comes_first(state: NodeState, present: dict[str, set[str]]) -> None:
    order = waves(state, present)
    assert all(order)
    turn = {(part.kind, part.goes): [] for wave in order for part in wave}  # type: ignore[var-annotated]
    for number, wave in enumerate(order):
        for part in wave:
            turn[part.kind, part.goes].append(number)
    phases = [
        ("network", False), ("namespace", False), ("image", False), ("container", True), ("container", False),
        ("image", True), ("network", True),
    ]  # fmt: skip
    ends = [turn[phase] for phase in phases if phase in turn]
    for before, after in pairwise(ends):
        assert max(before) < min(after)


@given(NODES)
def test_the_state_that_is_there_asks_for_no_removal(state: NodeState) -> None:
    present = {name: set(held.containers) for name, held in state.namespaces.items()}
    parts = [part for wave in waves(state, present) for part in wave]
    assert {(part.kind, part.namespace, part.name) for part in parts} == named(state)


def test_containers_start_after_those_they_name() -> None:
    containers = {
        "web": ContainerDesired("i", labels={AFTER: "db, cache"}), "db": ContainerDesired("i"),
        "cache": ContainerDesired("i", labels={AFTER: "db"}),
    }  # fmt: skip
    found = waves(NodeState({"n": NamespaceState(containers=containers)}), {})
    assert [[part.name for part in wave] for wave in found] == [["n"], ["db"], ["cache"], ["web"]]


def test_an_image_has_one_description() -> None:
    images = (ImageDesired("a"), ImageDesired("a", "absent"))
    with pytest.raises(InvalidArgument, match="twice"):
        waves(NodeState({"n": NamespaceState(images=images)}), {})


def test_the_whole_change_names_what_changes() -> None:
    web = Part("container", "n", "web", ContainerDesired("i"))
    made = Change(True, (Action("create", "container/web"),), {}, {"id": "web"}, ("slow",))
    whole = merged([(web, made), (Part("namespace", "", "n", NamespaceState()), Change(False, (), {"a": 1}))])
    assert whole == Change(
        True, (Action("create", "n/container/web"),), {"containers": {"n/web": {}}},
        {"containers": {"n/web": {"id": "web"}}}, ("n/web: slow",),
    )  # fmt: skip
    assert merged([]) == Change(changed=False)
