"""What the fake services of the API's tests answer: one value of each kind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tricorn.model.execs import ExecView
from tricorn.model.ids import Digest
from tricorn.model.records import (
    ContentInfo,
    Event,
    QuarantinedBlob,
    Snapshot,
    SnapshotKind,
    TaskStatus,
)
from tricorn.model.requests import (
    Action,
    Change,
    ContainerView,
    ImageView,
    LayerView,
    LogLine,
    NamedImage,
    TaskView,
)
from tricorn.model.scrubbing import ScrubStatus
from tricorn.ports import Capability, RuntimeInfo
from tricorn.rules.authorise import Peer

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
DIGEST = Digest.of(b"blob")
BLOB = b"blob" * 1000
ROOT = Peer(pid=1, uid=0, gid=0)


class Clock:
    def now(self) -> datetime:
        return NOW


def container(id: str = "web", **more: Any) -> ContainerView:
    task = TaskView(TaskStatus.RUNNING, pid=42, started_at=NOW)
    return ContainerView(
        id, "default", "docker.io/library/redis:7", str(DIGEST), "crun", "overlay", {"a": "b"}, task,
        created_at=NOW, **more,
    )  # fmt: skip


def image() -> ImageView:
    layer = LayerView(str(DIGEST), 9, "application/vnd.oci.image.layer.v1.tar+gzip")
    media = "application/vnd.oci.image.manifest.v1+json"
    return ImageView("docker.io/library/redis:7", str(DIGEST), media, 99, layers=(layer,), created_at=NOW)


CHANGE = Change(True, (Action("create", "container/web", "missing"),), {}, {"id": "web"})

NAMED = NamedImage("docker.io/library/redis:7", str(DIGEST), "application/vnd.oci.image.index.v1+json")
VERSION = {"version": "0.1.0", "api": "1", "python": "3.11", "revision": "abc"}
INFO = {
    "version": "0.1.0", "root": "/r", "state": "/s", "namespaces": ["default"],
    "runtimes": [RuntimeInfo("crun", "/usr/bin/crun")], "snapshotters": [{"name": "overlay"}],
    "capabilities": [Capability("criu", available=False, reason="no binary")], "kernel": "6.1",
    "cgroup": {"version": 2}, "uptime_seconds": 1.5, "statistics": {"x": 1},
}  # fmt: skip
DAMAGED = QuarantinedBlob(DIGEST, 4, "its bytes hash to sha256:0", "sha256-1", ("default",), found_at=NOW)
SCRUBBING = ScrubStatus(True, 60.0, 1 << 20, False, 3, 1, NOW, 1, 1)
INFO_OF_BLOB = ContentInfo(DIGEST, len(BLOB), created_at=NOW)
SNAPSHOT = Snapshot("overlay", "sha256:key", SnapshotKind.COMMITTED, "secret-directory", created_at=NOW)
EVENT = Event(7, NOW, "default", "/containers/create", {"id": "web"})
EXEC = ExecView(
    "e1", "web", TaskStatus.RUNNING, pid=77, args=("sh",), terminal=True, stdin=True, started_at=NOW
)
LOG = LogLine("2026-01-31T12:00:00.000000001Z", "stdout", "hello")
