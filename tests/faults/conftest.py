"""One small image for all crash tests of the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_layer
from tricorn_testing.registry import Registry


@pytest.fixture(scope="session")
def image(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Push an image of two layers; return its reference."""
    layout = ImageLayout(Path(tmp_path_factory.mktemp("faults")) / "layout")
    layers = [busybox_layer(), LayerBuilder().file("etc/second", "layer").layer("zstd")]
    layout.tag("faults", layout.add_image(layers, {"Cmd": ["sleep", "60"], "Env": ["PATH=/bin"]}))
    return registry.push(layout, "faults", "faults/busybox:1")
