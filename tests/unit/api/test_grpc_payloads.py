"""What travels in Any fields of containers and tasks."""

from __future__ import annotations

import json

import pytest

from tricorn import wire
from tricorn.api.grpc import payloads
from tricorn.api.grpc.containers import container_of, message_of
from tricorn.api.grpc.payloads import RuncOptions
from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.model.records import AnyValue, Container

RUNC = wire.package("containerd.runc.v1")
CONTAINERS = wire.package("containerd.services.containers.v1")
ANY = wire.message("google.protobuf.Any")


def options(**fields: object) -> AnyValue | None:
    return payloads.any_value(wire.any_of(RUNC.Options(**fields)))


def test_runc_options() -> None:
    assert payloads.runc_options(None) == RuncOptions()
    assert payloads.runc_options(options()) == RuncOptions()
    read = payloads.runc_options(options(binary_name="/usr/bin/crun", no_pivot_root=True))
    assert read == RuncOptions("/usr/bin/crun", no_pivot_root=True)
    assert payloads.runc_options(AnyValue("type.googleapis.com/containerd.runc.v1.Options")) == RuncOptions()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("root", "/run/mine"), ("systemd_cgroup", True), ("no_new_keyring", True), ("shim_cgroup", "/x"),
        ("criu_image_path", "/x"), ("task_api_address", "unix:///x"),
    ],
)  # fmt: skip
def test_options_without_effect_here_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(Unimplemented) as caught:
        payloads.runc_options(options(**{field: value}))
    assert caught.value.field == f"options.{field}"
    assert caught.value.why


def test_options_of_another_runtime() -> None:
    other = AnyValue("runtimeoptions.v1.Options", b"\x0a\x01x")
    with pytest.raises(Unimplemented):
        payloads.runc_options(other)
    assert payloads.binary_of(other) == ""
    assert payloads.binary_of(AnyValue("containerd.runc.v1.Options", b"\xff\xff")) == ""
    assert payloads.binary_of(options(binary_name="crun", root="/x")) == "crun"
    with pytest.raises(InvalidArgument):
        payloads.runc_options(AnyValue("containerd.runc.v1.Options", b"\xff\xff"))


@pytest.mark.parametrize(
    "type_url",
    [payloads.PROCESS, "opencontainers/runtime-spec/1/Process", "x/opencontainers/runtime-spec/1/Process"],
)
def test_an_oci_object(type_url: str) -> None:
    process = {"args": ["true"], "user": {"uid": 0}}
    packed = ANY(type_url=type_url, value=json.dumps(process).encode())
    assert payloads.oci_object(packed, "Process", "spec") == process


@pytest.mark.parametrize(
    ("type_url", "value"),
    [
        (payloads.RESOURCES, b"{}"),
        ("", b"{}"),
        (payloads.PROCESS, b""),
        (payloads.PROCESS, b"[]"),
        (payloads.PROCESS, b'{"a": '),
        (payloads.PROCESS, b"[" * 100_000),
        (payloads.PROCESS, b'{"a": "\xff"}'),
    ],
)
def test_malformed_oci_objects_are_refused(type_url: str, value: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        payloads.oci_object(ANY(type_url=type_url, value=value), "Process", "spec")
    assert caught.value.field == "spec"


def test_a_record_comes_back_byte_for_byte() -> None:
    made = CONTAINERS.Container(
        id="web", image="a", snapshotter="overlayfs", snapshot_key="k", labels={"a": "b"}, sandbox="pod",
        runtime={"name": "io.containerd.runc.v2", "options": {"type_url": "x.Y", "value": b"\xff\x00"}},
        spec={"type_url": "some/Spec", "value": b" {\n}\xff"},
        extensions={"e": {"type_url": "x.E", "value": b"\x01"}},
    )  # fmt: skip
    back = message_of(container_of(made))
    for field in ("created_at", "updated_at"):
        back.ClearField(field)
    assert back == made


def test_a_container_of_the_http_door_says_what_it_runs_with() -> None:
    shown = message_of(Container("web", runtime="crun", spec=b'{"ociVersion": "1.0.2"}'))
    assert shown.runtime.name == "io.containerd.runc.v2"
    assert wire.unpack(shown.runtime.options).binary_name == "crun"
    assert (shown.spec.type_url, shown.spec.value) == (payloads.SPEC, b'{"ociVersion": "1.0.2"}')
    assert shown.created_at.seconds < 0  # Go's zero time
