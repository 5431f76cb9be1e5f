"""The tests' own image writer, held against skopeo and a real registry."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tricorn_testing.images import Compression, ImageLayout, LayerBuilder, busybox_image
from tricorn_testing.registry import Registry

pytestmark = pytest.mark.integration


def skopeo(*arguments: str) -> str:
    return subprocess.run(["skopeo", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_an_index_of_mixed_layers_is_what_skopeo_reads(
    layout: ImageLayout, registry: Registry, docker: bool, tmp_path: Path
) -> None:
    kinds: tuple[Compression, ...] = ("", "gzip") if docker else ("", "gzip", "zstd")
    layers = [LayerBuilder().file(f"file-{kind}", "x" * 5000).layer(kind) for kind in kinds]
    images = [
        layout.add_image(layers, {"Cmd": ["/bin/true"]}, platform=platform, docker=docker)
        for platform in ("linux/amd64", "linux/arm64/v8")
    ]
    layout.tag("all", layout.add_index(images, docker=docker))
    name = f"image-writer/{'docker' if docker else 'oci'}:all"
    reference = registry.push(layout, "all", name)
    raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}"))
    assert [entry["platform"]["architecture"] for entry in raw["manifests"]] == ["amd64", "arm64"]
    assert (
        registry.digest(name)
        == json.loads((layout.path / "index.json").read_text())["manifests"][0]["digest"]
    )
    config = json.loads(
        skopeo("inspect", "--config", "--tls-verify=false", "--override-arch=arm64", f"docker://{reference}")
    )
    assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in layers]


def test_the_same_input_gives_the_same_digest(tmp_path: Path) -> None:
    first, second = (busybox_image(ImageLayout(tmp_path / name)) for name in "ab")
    assert first == second
    assert skopeo("inspect", "--format", "{{.Digest}}", f"oci:{tmp_path / 'a'}:busybox").strip() == first
