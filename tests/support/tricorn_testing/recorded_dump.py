"""The dump that was recorded of a real container, and the spec that it was granted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tricorn.rules.dump_images import Dump, read_dump
from tricorn.rules.dump_mount_images import DumpedMount

_RECORDED: Final = Path(__file__).parents[2] / "unit/rules/recorded_dump"
IMAGES: Final = {path.name: path.read_bytes() for path in sorted(_RECORDED.glob("*.img"))}
SPEC: Final[dict[str, Any]] = json.loads((_RECORDED / "spec.json").read_text())


def recorded() -> Dump:
    return read_dump(IMAGES, list(IMAGES))


def mount_at(point: str) -> DumpedMount:
    return next(mount for mount in recorded().mounts if mount.point == point)


def granted(**members: Any) -> dict[str, Any]:
    """Return the spec with members replaced; `process__user` is spec["process"]["user"]."""
    spec: dict[str, Any] = json.loads(json.dumps(SPEC))
    for path, value in members.items():
        *parents, last = path.split("__")
        part = spec
        for name in parents:
            part = part[name]
        part[last] = value
    return spec
