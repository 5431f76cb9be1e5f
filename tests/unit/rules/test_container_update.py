"""Field masks on container records."""

from __future__ import annotations

import pytest
from attrs import evolve

from tricorn.errors import InvalidArgument
from tricorn.model.records import AnyValue, Container
from tricorn.rules.container_update import masked

ONE, TWO = AnyValue("x.One", b"\x00\x01"), AnyValue("x.Two")
OLD = Container(
    "web", image="a", runtime="crun", snapshotter="overlayfs", snapshot_key="web", spec=b"{}", desired={"image": "a"},
    labels={"kept": "1", "gone": "1"}, extensions={"one": ONE}, runtime_name="io.containerd.runc.v2",
)  # fmt: skip
NEW = evolve(
    OLD, image="b", snapshot_key="other", spec=b'{"x": 1}', spec_type="t", labels={"new": "1", "gone": ""},
    extensions={"two": TWO}, runtime_options=ONE,
)  # fmt: skip


def test_without_a_mask_all_that_can_change_does() -> None:
    made = masked(OLD, NEW, ())
    assert (made.image, made.snapshot_key, made.spec, made.spec_type) == ("b", "other", b'{"x": 1}', "t")
    assert made.labels == {"new": "1"}
    assert made.extensions == {"two": TWO}
    assert made.runtime_options is None  # belongs to the runtime, which never changes
    assert made.desired == {}  # the stored request is no longer what the spec says


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("image", {"image": "b"}),
        ("snapshotkey", {"snapshot_key": "other"}),
        ("labels", {"labels": {"new": "1"}}),
        ("labels.new", {"labels": {"kept": "1", "gone": "1", "new": "1"}}),
        ("labels.gone", {"labels": {"kept": "1"}}),
        ("labels.never.was", {}),
        ("extensions", {"extensions": {"two": TWO}}),
        ("extensions.two", {"extensions": {"one": ONE, "two": TWO}}),
        ("extensions.one", {"extensions": {}}),
        ("spec", {"spec": b'{"x": 1}', "spec_type": "t", "desired": {}}),
    ],
)
def test_a_mask_changes_only_what_it_names(path: str, changed: dict[str, object]) -> None:
    assert masked(OLD, NEW, (path,)) == evolve(OLD, **changed)


def test_the_same_spec_keeps_the_request() -> None:
    assert masked(OLD, OLD, ()).desired == {"image": "a"}


@pytest.mark.parametrize("path", ["runtime", "id", "snapshotter", "labels.", "", "Spec", "snapshot_key"])
def test_other_fields_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        masked(OLD, NEW, (path,))
    assert caught.value.field == "update_mask"


@pytest.mark.parametrize(
    ("change", "field"),
    [({"snapshotter": "native"}, "snapshotter"), ({"runtime_name": "io.containerd.runc.v1"}, "runtime.name")],
)
def test_what_never_changes_is_checked_without_a_mask_only(change: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        masked(OLD, evolve(NEW, **change), ())
    assert caught.value.field == field
    assert masked(OLD, evolve(NEW, **change), ("image",)) == evolve(OLD, image="b")


def test_a_container_of_the_other_door_has_the_usual_runtime() -> None:
    ours = evolve(OLD, runtime_name="")
    assert masked(ours, NEW, ()).image == "b"
