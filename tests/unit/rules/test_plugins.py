from __future__ import annotations

from tricorn.model.filters import select
from tricorn.model.oci import Platform
from tricorn.rules.plugins import RUNTIME_ID, RUNTIME_TYPE, catalogue

MACHINE = Platform("linux", "arm64", "v8")
SERVED = (
    "containerd.services.images.v1.Images",
    "containerd.services.sandbox.v1.Store",
    "containerd.services.sandbox.v1.Controller",
    "grpc.health.v1.Health",
)


def test_every_served_service_is_a_plugin_under_containerds_name():
    served = [part.id for part in catalogue(MACHINE, SERVED) if part.type == "io.containerd.grpc.v1"]
    assert served == ["healthcheck", "images", "sandbox-controllers", "sandboxes"]


def test_parts_are_told_apart_by_type_and_id_and_sorted():
    parts = catalogue(MACHINE, SERVED)
    names = [(part.type, part.id) for part in parts]
    assert names == sorted(set(names))


def test_filters_find_a_part():
    found = select([f"type=={RUNTIME_TYPE},id=={RUNTIME_ID}"], catalogue(MACHINE, SERVED))
    assert [part.platforms for part in found] == [(MACHINE,)]


def test_nothing_is_required_that_is_not_there():
    parts = catalogue(MACHINE, SERVED)
    there = {part.type for part in parts} | {"io.containerd.snapshotter.v1"}
    assert {kind for part in parts for kind in part.requires} <= there
