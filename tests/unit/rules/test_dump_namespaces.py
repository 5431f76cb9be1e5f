"""Processes of a dump come into no namespace of the node's that the spec keeps them from."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from tricorn.rules.dump_namespaces import namespaces
from tricorn_testing.recorded_dump import SPEC, granted, recorded

KINDS = {"pid": "process ids", "network": "networks", "ipc": "IPC", "uts": "host names"}
MORE = {"time": "clocks", "cgroup": "control groups"}


def found(kind: str, numbers: set[int], spec: dict[str, Any]) -> list[str]:
    dump = recorded()
    return list(namespaces(evolve(dump, inside={**dump.inside, kind: frozenset(numbers)}), spec))


def asking(*kinds: str) -> dict[str, Any]:
    """Return a spec with these namespaces; by path or not makes no difference."""
    spaces = [
        {"type": kind, "path": "/run/netns/x"} if kind == "network" else {"type": kind} for kind in kinds
    ]
    return granted(linux__namespaces=[*spaces, {"type": "mount"}])


def test_what_was_recorded_is_granted() -> None:
    assert list(namespaces(recorded(), SPEC)) == []


@pytest.mark.parametrize(("kind", "name"), [*KINDS.items(), *MORE.items()])
def test_where_the_spec_has_a_namespace_none_is_in_crius_own(kind: str, name: str) -> None:
    outside = recorded().outside[kind]
    for numbers in ({outside}, {4711, outside}, {0}, {4711, 0}, set()):
        assert f"processes in the node's namespace of {name}" in found(kind, numbers, asking(kind))
    assert found(kind, {4711}, asking(kind)) == []


@pytest.mark.parametrize("kind", [*KINDS, *MORE])
def test_where_it_has_none_they_may_be(kind: str) -> None:
    assert found(kind, {recorded().outside[kind]}, asking()) == []


def test_mounts_are_always_the_containers_and_all_are_known() -> None:
    assert found("mount", {recorded().outside["mount"]}, SPEC) == [
        "processes without a mount namespace of their own"
    ]
    assert found("mount", {13, 77}, SPEC) == ["processes in a mount namespace that the dump has no mounts of"]
