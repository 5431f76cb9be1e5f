"""The few protobuf messages that parts of checkpoints are, as bytes. Pure.

Field numbers: google/protobuf/any.proto, containerd's types/runc/options/oci.proto.
"""

from __future__ import annotations

from typing import Final

from tricorn.errors import InvalidArgument
from tricorn.model.checkpoints import DumpOptions
from tricorn.rules.varints import field, number_field, varint

OCI_SPEC: Final = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
CHECKPOINT_OPTIONS: Final = "containerd.runc.v1.CheckpointOptions"


def any_of(type_url: str, value: bytes) -> bytes:
    """Return an Any."""
    return field(1, type_url.encode()) + field(2, value)


def checkpoint_options(options: DumpOptions) -> bytes:
    """Return runc's CheckpointOptions in an Any."""
    flags = (
        (1, not options.leave_running), (2, options.tcp_established), (3, options.external_unix_sockets),
        (4, options.shell_job), (5, options.file_locks),
    )  # fmt: skip
    packed = b"".join(number_field(number, 1) for number, wanted in flags if wanted)
    packed += b"".join(field(6, name.encode()) for name in options.empty_namespaces)
    return any_of(CHECKPOINT_OPTIONS, packed + field(7, options.cgroups_mode.encode()))


def value_of_any(data: bytes) -> bytes:
    """Return the value in an Any. InvalidArgument for bytes that are none."""
    at, value = 0, b""
    while at < len(data):
        tag, at = _number(data, at)
        size, at = _number(data, at)
        if tag & 7 != 2 or at + size > len(data):
            raise InvalidArgument("malformed protobuf message", why="an Any was expected")
        value, at = data[at : at + size] if tag >> 3 == 2 else value, at + size
    return value


def _number(data: bytes, at: int) -> tuple[int, int]:
    try:
        return varint(data, at)
    except ValueError as error:
        raise InvalidArgument("malformed protobuf message", why=str(error)) from None
