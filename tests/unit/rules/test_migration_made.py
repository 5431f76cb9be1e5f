"""Containers of other clients take their own spec along."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from attrs import evolve

from tricorn.errors import FailedPrecondition, InvalidArgument
from tricorn.model.migrations import Made
from tricorn.model.records import AnyValue, Container
from tricorn.rules.migration_made import container_of, made_of, needed_paths
from tricorn.rules.packed import OCI_SPEC

SPEC: dict[str, Any] = {
    "process": {"args": ["sh"]}, "mounts": [{"destination": "/www", "source": "/srv", "options": ["rbind"]}],
    "linux": {"cgroupsPath": "/default/web", "namespaces": [{"type": "network", "path": "/run/netns/x"}]},
}  # fmt: skip
KNOWN = Container(
    "web", "app:1", runtime="runc", spec=msgspec.json.encode(SPEC), labels={"tier": "web"},
    extensions={"x": AnyValue("y", b"\x00\xff")}, runtime_name="io.containerd.runc.v2",
    runtime_options=AnyValue("o", b"\x01"), spec_type=OCI_SPEC,
)  # fmt: skip
MAPPED = msgspec.json.encode({"linux": {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}})


def test_all_that_a_client_wrote_down_arrives() -> None:
    found = container_of(msgspec.json.decode(msgspec.json.encode(made_of(KNOWN)), type=Made), "web")
    assert evolve(found, image="app:1") == KNOWN


def test_under_another_name_it_has_a_control_group_of_its_own() -> None:
    found = msgspec.json.decode(container_of(made_of(KNOWN), "moved").spec)
    assert found["linux"]["cgroupsPath"] == "/default/moved"


def test_what_the_target_has_to_have_is_named() -> None:
    assert dict(needed_paths(made_of(KNOWN))) == {
        "/srv": "the container mounts it at /www", "/run/netns/x": "it is the container's network namespace",
    }  # fmt: skip


@pytest.mark.parametrize("changes", [{"sandbox": "pod"}, {"spec": MAPPED}, {"spec_type": "windows"}])
def test_what_only_its_client_knows_stays(changes: dict[str, Any]) -> None:
    with pytest.raises(FailedPrecondition):
        made_of(evolve(KNOWN, **changes))


@pytest.mark.parametrize("spec", ["", "[]", '{"linux": 5', MAPPED.decode()])
def test_malformed_specs_are_refused(spec: str) -> None:
    with pytest.raises(InvalidArgument):
        container_of(Made(spec), "web")
