"""What containerd's clients put into Any fields of containers and tasks: OCI objects as JSON, runc's options.

The OCI types have no messages: they travel as JSON under the type URL of Go's typeurl package, which ends in
`opencontainers/runtime-spec/1/` and the type's name.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from attrs import frozen

from tricorn import wire
from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.model.records import AnyValue

_OCI: Final = "opencontainers/runtime-spec/1/"
SPEC: Final = f"types.containerd.io/{_OCI}Spec"
PROCESS: Final = f"types.containerd.io/{_OCI}Process"
RESOURCES: Final = f"types.containerd.io/{_OCI}LinuxResources"

_RUNC: Final = wire.package("containerd.runc.v1")
_RUNC_OPTIONS: Final = "containerd.runc.v1.Options"
# What would change how the runtime is started in a way that this agent doesn't. (`io_uid` and `io_gid` are no
# matter: a container's users may open its streams again whoever they are.)
_REFUSED: Final = {
    "root": "the agent keeps the runtime's state below its own state directory",
    "systemd_cgroup": "the agent drives the cgroup file systems itself, not through systemd",
    "no_new_keyring": "the runtime always gives a container a session keyring of its own",
    "shim_cgroup": "there is no shim to be put into a control group",
    "criu_image_path": "tasks are restored from checkpoints in the content store, not from directories",
    "task_api_address": "tasks of sandboxes run under the agent itself",
}


@frozen
class RuncOptions:
    """`binary` is the OCI runtime to use, by name or path ("": the node's default)."""

    binary: str = ""
    no_pivot_root: bool = False


def any_value(packed: Any) -> AnyValue | None:
    """Return what an Any holds, unread; None for an empty one."""
    return AnyValue(packed.type_url, packed.value) if packed.type_url or packed.value else None


def any_message(value: AnyValue) -> Any:
    return wire.message("google.protobuf.Any")(type_url=value.type_url, value=value.value)


def runc_options(value: AnyValue | None) -> RuncOptions:
    """Read the options of containerd's runc runtime; None stands for none at all.

    Unimplemented for options of another runtime and for those that would have no effect here.
    """
    if value is None or not value.type_url:
        return RuncOptions()
    if value.type_url.rpartition("/")[2] != _RUNC_OPTIONS:
        raise Unimplemented(
            f"runtime options of type {value.type_url[:200]!r}", field="options",
            why=f"this agent understands {_RUNC_OPTIONS}",
        )  # fmt: skip
    options = wire.unpack(any_message(value))
    for field, why in _REFUSED.items():
        if getattr(options, field):
            raise Unimplemented(f"the runtime option {field}", why=why, field=f"options.{field}")
    return RuncOptions(options.binary_name, options.no_pivot_root)


def binary_of(value: AnyValue | None) -> str:
    """Return the OCI runtime that a record's options name, "" if they are none of runc's or unreadable."""
    if value is None or value.type_url.rpartition("/")[2] != _RUNC_OPTIONS:
        return ""
    try:
        return str(wire.unpack(any_message(value)).binary_name)
    except InvalidArgument:
        return ""


def packed_runc_options(binary: str) -> Any:
    """Return options that name an OCI runtime."""
    return wire.any_of(_RUNC.Options(binary_name=binary))


def process_details(exec_id: str) -> Any:
    """Return what a list of processes says of an exec's."""
    return wire.any_of(_RUNC.ProcessDetails(exec_id=exec_id))


def oci_object(packed: Any, kind: str, field: str) -> dict[str, Any]:
    """Return the JSON object in an Any of the OCI type `kind` (`Process`, `LinuxResources`).

    InvalidArgument, naming `field`, for another type or malformed JSON.
    """
    if not packed.type_url.endswith(_OCI + kind):
        raise InvalidArgument(
            f"expected an OCI {kind}, got {packed.type_url[:200]!r}", field=field,
            hint=f"its type URL is types.containerd.io/{_OCI}{kind}",
        )  # fmt: skip
    try:
        decoded = msgspec.json.decode(packed.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"the {kind} is not valid JSON", why=str(error)[:300], field=field) from None
    if not isinstance(decoded, dict):
        raise InvalidArgument(f"the {kind} is not a JSON object", field=field)
    return decoded
