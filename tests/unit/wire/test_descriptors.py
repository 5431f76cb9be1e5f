"""The packaged descriptor set: as compiled from the sources, and as containerd's wire has it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor

from tricorn import wire

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "tests/conformance/containerd_api.tsv"
SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_DOUBLE: "double",
}


def ours(data: bytes) -> dict[str, Any]:
    """Return the files that are compiled from our sources; protobuf's own differ between its releases."""
    found = descriptor_pb2.FileDescriptorSet.FromString(data).file
    return {file.name: file for file in found if not file.name.startswith("google/protobuf/")}


def test_the_packaged_set_is_what_the_sources_compile_to(monkeypatch):
    pytest.importorskip("grpc_tools")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    sys.modules.pop("compile_protos", None)
    import compile_protos

    packaged = (ROOT / "agent/tricorn/wire/containerd.binpb").read_bytes()
    assert ours(compile_protos.compile_protos()) == ours(packaged), "run `make proto`"


def expected() -> Iterator[tuple[str, str, tuple[tuple[str, ...], ...]]]:
    """Yield kind, full name and members of everything in the table."""
    blocks: list[tuple[str, str, list[tuple[str, ...]]]] = []
    for line in TABLE.read_text().splitlines():
        if line.startswith("\t"):
            blocks[-1][2].append(tuple(line[1:].split("\t")))
        elif not line.startswith("#"):
            kind, _, name = line.partition("\t")
            blocks.append((kind, name, []))
    return ((kind, name, tuple(members)) for kind, name, members in blocks)


def kind_of(field: Any) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return f"map<{name_of(key)},{name_of(value)}>"
    label = "repeated " if field.is_repeated else "optional " if explicit(field) else ""
    return label + name_of(field)


def explicit(field: Any) -> bool:
    """Whether it is declared `optional`, which protoc keeps as a oneof of its own."""
    return field.containing_oneof is not None and field.containing_oneof.name == f"_{field.name}"


def name_of(field: Any) -> str:
    if field.message_type is not None:
        return field.message_type.full_name
    if field.enum_type is not None:
        return field.enum_type.full_name
    return SCALARS[field.type]


def actual(kind: str, name: str) -> tuple[tuple[str, ...], ...]:
    if kind == "service":
        return tuple(
            (
                method.name,
                ("stream " if method.client_streaming else "") + method.input_type.full_name,
                ("stream " if method.server_streaming else "") + method.output_type.full_name,
            )
            for method in wire.service(name).methods
        )
    if kind == "enum":
        return tuple((value, str(number)) for value, number in wire.enum(name).items())
    fields = wire.message(name).DESCRIPTOR.fields
    return tuple((field.name, str(field.number), kind_of(field)) for field in fields)


@pytest.mark.parametrize("package", sorted({name.rpartition(".")[0] for _, name, _ in expected()}))
def test_every_message_enum_and_service_is_as_the_table_says(package):
    for kind, name, members in expected():
        if name.rpartition(".")[0] == package:
            assert sorted(actual(kind, name)) == sorted(members), name


def test_the_health_service_and_the_details_of_a_status_are_those_of_grpc():
    assert actual("service", "grpc.health.v1.Health") == (
        ("Check", "grpc.health.v1.HealthCheckRequest", "grpc.health.v1.HealthCheckResponse"),
        ("Watch", "grpc.health.v1.HealthCheckRequest", "stream grpc.health.v1.HealthCheckResponse"),
    )
    assert [field[:2] for field in actual("message", "google.rpc.Status")] == [
        ("code", "1"),
        ("message", "2"),
        ("details", "3"),
    ]


def test_no_service_is_missing_from_the_list():
    listed = {service.full_name for service in wire.services()}
    assert {name for kind, name, _ in expected() if kind == "service"} | {"grpc.health.v1.Health"} == listed
