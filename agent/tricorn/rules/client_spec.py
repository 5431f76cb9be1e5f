"""OCI specs that clients made, turned into what is run: their own words, and no privilege added."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tricorn.errors import InvalidArgument
from tricorn.rules.spec import OCI_VERSION

_NO_GROUP: Final = 2**32 - 1


def runnable_spec(spec: bytes, *, rootfs: str, cgroup: str) -> bytes:
    """Return the spec with its root at `rootfs` ("": where the spec says, which must be an absolute path),
    in the control group `cgroup` unless it names one itself, and of a version that every runtime takes.

    InvalidArgument for what is no OCI spec.
    """
    document = _document(spec)
    root = dict(_part(document, "root"))
    if rootfs:
        root["path"] = rootfs
    elif not str(root.get("path") or "").startswith("/"):
        raise InvalidArgument(
            "the container has no root file system", field="spec.root.path",
            why="neither a snapshot, nor mounts, nor an absolute path in its spec",
        )  # fmt: skip
    linux = dict(_part(document, "linux"))
    wanted = str(linux.get("cgroupsPath") or "")
    if not wanted or ":" not in wanted:
        linux["cgroupsPath"] = f"/{wanted.lstrip('/')}" if wanted else cgroup
    version = {"ociVersion": _version(document)} if "ociVersion" in document else {}
    return msgspec.json.encode({**document, **version, "root": root, "linux": linux})


def spec_of_its_own(spec: bytes, container: str) -> bytes:
    """Return the spec with a control group named after the container: one that came with a checkpoint names
    the group of the container it was taken of.
    """
    document = _document(spec)
    linux = dict(_part(document, "linux"))
    parent, _, name = str(linux.get("cgroupsPath") or "").rpartition("/")
    if not name or name == container or ":" in name:
        return spec
    linux["cgroupsPath"] = f"{parent}/{container}"
    return msgspec.json.encode({**document, "linux": linux})


def _version(document: dict[str, Any]) -> Any:
    """Return the version to state: older runtimes refuse 1.1 and later, whatever is in the spec, and newer
    ones read all that they know of whichever 1.x it is.
    """
    wanted = document["ociVersion"]
    return OCI_VERSION if isinstance(wanted, str) and wanted.startswith("1.") else wanted


def mapped_group(spec: bytes) -> int:
    """Return which group of the host is the root's in the spec's user namespace, 0 if it has none."""
    try:
        mappings = _part(_document(spec), "linux").get("gidMappings") or ()
    except InvalidArgument:
        return 0
    for item in mappings if isinstance(mappings, list) else ():
        if isinstance(item, dict) and item.get("containerID") == 0:
            host = item.get("hostID")
            return host if isinstance(host, int) and 0 < host < _NO_GROUP else 0
    return 0


def wants_terminal(spec: bytes) -> bool:
    """Return whether the spec's process has a terminal."""
    try:
        return bool(_part(_document(spec), "process").get("terminal"))
    except InvalidArgument:
        return False


def _document(spec: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(spec)
    except msgspec.DecodeError as error:
        raise InvalidArgument("the container's spec is not JSON", why=str(error), field="spec") from None
    if not isinstance(document, dict):
        raise InvalidArgument("the container's spec is not an object", field="spec")
    return document


def _part(document: dict[str, Any], name: str) -> dict[str, Any]:
    part = document.get(name) or {}
    if not isinstance(part, dict):
        raise InvalidArgument(f"{name} in the container's spec is not an object", field=f"spec.{name}")
    return part
