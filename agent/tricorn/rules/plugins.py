"""The agent's parts under the types and ids by which containerd's clients know such parts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import Factory, frozen

from tricorn.model.oci import Platform

RUNTIME_TYPE: Final = "io.containerd.runtime.v2"
RUNTIME_ID: Final = "task"
SNAPSHOTTER_TYPE: Final = "io.containerd.snapshotter.v1"
_METADATA: Final = "io.containerd.metadata.v1"
_SERVICE: Final = "io.containerd.service.v1"
_GRPC: Final = "io.containerd.grpc.v1"


@frozen
class Plugin:
    """One part. `init_error` says why it can't be used here ("": it can); `exports` where it keeps things."""

    type: str
    id: str
    requires: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    exports: Mapping[str, str] = Factory(dict)
    capabilities: tuple[str, ...] = ()
    init_error: str = ""


_PARTS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("io.containerd.content.v1", "content", ()),
    ("io.containerd.event.v1", "exchange", ()),
    (_METADATA, "bolt", ("io.containerd.content.v1", SNAPSHOTTER_TYPE)),
    ("io.containerd.gc.v1", "scheduler", (_METADATA,)),
    ("io.containerd.lease.v1", "manager", (_METADATA,)),
    ("io.containerd.streaming.v1", "manager", (_METADATA,)),
    ("io.containerd.sandbox.store.v1", "local", (_METADATA,)),
    ("io.containerd.sandbox.controller.v1", "shim", ("io.containerd.event.v1",)),
    ("io.containerd.transfer.v1", "local", (_METADATA, "io.containerd.lease.v1", "io.containerd.differ.v1")),
)
_ON_A_PLATFORM: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("io.containerd.differ.v1", "walking", (_METADATA,)),
    ("io.containerd.monitor.task.v1", "cgroups", ("io.containerd.event.v1",)),
    (RUNTIME_TYPE, RUNTIME_ID, (_METADATA, "io.containerd.event.v1")),
)
_LOCAL_SERVICES: Final = (
    "containers", "content", "diff", "images", "introspection", "namespaces", "snapshots", "tasks",
)  # fmt: skip
# Services whose plugin has another name than the service's package.
_NAMES: Final = {
    "grpc.health.v1.Health": "healthcheck",
    "containerd.services.sandbox.v1.Store": "sandboxes",
    "containerd.services.sandbox.v1.Controller": "sandbox-controllers",
}


def catalogue(machine: Platform, served: tuple[str, ...]) -> list[Plugin]:
    """Return all parts but the snapshotters; `served` are the gRPC services behind the door."""
    parts = [Plugin(kind, name, requires) for kind, name, requires in _PARTS]
    parts += [Plugin(kind, name, requires, (machine,)) for kind, name, requires in _ON_A_PLATFORM]
    parts += [Plugin(_SERVICE, f"{name}-service", (_METADATA,)) for name in _LOCAL_SERVICES]
    parts += [Plugin(_GRPC, _plugin_of(service), (_SERVICE,)) for service in served]
    return sorted(parts, key=lambda part: (part.type, part.id))


def _plugin_of(service: str) -> str:
    """`containerd.services.images.v1.Images` → `images`."""
    return _NAMES.get(service) or service.split(".")[-3]
