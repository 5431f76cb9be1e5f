"""The small image that all sides run."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from tricorn_testing.images import ImageLayout, busybox_layer
from tricorn_testing.registry import Registry


@frozen
class Picture:
    """A pushed image; `chain_id` names the snapshot of its only layer."""

    reference: str
    title: str
    chain_id: str


def small(layouts: Path, registry: Registry) -> Picture:
    """busybox: what the run and memory measurements start."""
    layout = ImageLayout(layouts / "small")
    layer = busybox_layer()
    layout.tag("1", layout.add_image([layer], {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}))
    return Picture(registry.push(layout, "1", "bench/small:1"), "busybox", layer.diff_id)
