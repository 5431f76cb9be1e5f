"""Containers that clients of containerd's API made, on their way to another node: their own spec goes along,
for nobody else could make it anew. Pure.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tricorn.errors import FailedPrecondition, InvalidArgument
from tricorn.model.migrations import Made
from tricorn.model.records import AnyValue, Container
from tricorn.rules.client_spec import spec_of_its_own
from tricorn.rules.packed import OCI_SPEC

_OCI_SPEC = "opencontainers/runtime-spec/1/Spec"  # older clients have another name before it


def made_of(container: Container) -> Made:
    """Return what goes along. FailedPrecondition for a container that is part of a sandbox, has a user
    namespace whose layers only its client knows, or a spec in another form.
    """
    problem = ""
    if container.sandbox:
        problem = f"it is part of sandbox {container.sandbox}"
    elif b'"uidMappings"' in container.spec and _mapped(container.spec):
        problem = "a client chose its user namespace, and gave it layers of its own"
    elif container.spec_type and not container.spec_type.endswith(_OCI_SPEC):
        problem = f"its spec is a {container.spec_type}"
    if problem:
        raise FailedPrecondition(f"container {container.id} can't be migrated", why=problem)
    return Made(
        container.spec.decode(), container.runtime, container.runtime_name,
        _told(container.runtime_options) if container.runtime_options else ("", ""), dict(container.labels),
        {name: _told(value) for name, value in container.extensions.items()},
    )  # fmt: skip


def container_of(made: Made, name: str) -> Container:
    """Return the record that the target makes; image and snapshot are filled in later. InvalidArgument."""
    spec = made.spec.encode()
    linux = _linux(spec)
    if linux.get("uidMappings"):
        raise InvalidArgument("the spec has a user namespace", field="made.spec")
    return Container(
        name, runtime=made.runtime, spec=spec_of_its_own(spec, name), labels=dict(made.labels),
        extensions={key: _any(value) for key, value in made.extensions.items()},
        runtime_name=made.runtime_name,
        runtime_options=_any(made.runtime_options) if made.runtime_options[0] else None, spec_type=OCI_SPEC,
    )  # fmt: skip


def needed_paths(made: Made) -> Iterator[tuple[str, str]]:
    """Yield the paths of the node that the spec names, and what for."""
    spec = msgspec.json.decode(made.spec)
    for mount in spec.get("mounts") or ():
        bound = mount.get("type") == "bind" or {"bind", "rbind"} & set(mount.get("options") or ())
        if bound:
            yield str(mount.get("source") or ""), f"the container mounts it at {mount.get('destination')}"
    for entry in _linux(made.spec.encode()).get("namespaces") or ():
        if path := entry.get("path"):
            yield str(path), f"it is the container's {entry.get('type')} namespace"


def _linux(spec: bytes) -> Mapping[str, Any]:
    try:
        document = msgspec.json.decode(spec)
        return document.get("linux") or {}
    except (msgspec.DecodeError, AttributeError):
        raise InvalidArgument("the spec is malformed", field="made.spec") from None


def _mapped(spec: bytes) -> bool:
    return bool(_linux(spec).get("uidMappings"))


def _told(value: AnyValue) -> tuple[str, str]:
    return value.type_url, base64.b64encode(value.value).decode()


def _any(told: tuple[str, str]) -> AnyValue:
    try:
        return AnyValue(told[0], base64.b64decode(told[1], validate=True))
    except binascii.Error:
        raise InvalidArgument("what a client wrote down is malformed", field="made") from None
