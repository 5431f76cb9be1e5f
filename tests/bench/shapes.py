"""The five shapes of images that pulls are measured with, gzip and zstd; built once, kept in .bench/."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import layer_tars
import zstandard
from attrs import frozen
from layer_tars import once

from tricorn_testing.images import CREATED, OCI, ImageLayout
from tricorn_testing.registry import Registry

COMPRESSIONS: Final = ("gzip", "zstd")
QUICK_FILES: Final = 8_000
_CHUNK: Final = 1 << 20


@frozen
class Shape:
    """An image in a layout directory. `tars` are its layers' tars, the lowest first."""

    name: str
    title: str
    compression: str
    layout: ImageLayout
    tars: tuple[Path, ...]
    chain_id: str  # of the topmost layer

    def push(self, registry: Registry) -> str:
        """Push it where it isn't there yet; return the reference that pulls it."""
        return registry.push(self.layout, "1", f"{self.repository}:1")

    @property
    def repository(self) -> str:
        return f"bench/{self.layout.path.name}"

    def addresses(self, registry: Registry) -> list[str]:
        """Return where a registry that it was pushed to gives its packed layers."""
        place = f"http://{registry.address}/v2/{self.repository}/blobs"
        return [f"{place}/sha256:{blob.name}" for blob in self.blobs()]

    def blobs(self) -> list[Path]:
        """Return the files of its packed layers."""
        index = json.loads((self.layout.path / "index.json").read_text())
        manifest = self.layout.document(index["manifests"][0]["digest"])
        return [self.layout.blob(layer["digest"]) for layer in manifest["layers"]]

    @property
    def written(self) -> int:
        """Bytes that a pull writes: the packed layers and what is in them."""
        return sum(path.stat().st_size for path in (*self.blobs(), *self.tars))


class KeptLayout(ImageLayout):
    """A layout that is on disk already."""

    def __init__(self, path: Path) -> None:
        self.path = path


def tiny(layouts: Path) -> list[Path]:
    return [once(layouts / "tiny.tar", layer_tars.write_tiny)]


def distro(layouts: Path) -> list[Path]:
    return [once(layouts / "distro.tar", layer_tars.write_distro)]


def many(layouts: Path, count: int = layer_tars.MANY_FILES) -> list[Path]:
    return [once(layouts / f"many-{count}.tar", lambda target: layer_tars.write_many(target, count))]


def layers(layouts: Path) -> list[Path]:
    stacked = [
        once(layouts / f"stacked-{number}.tar", lambda target, number=number: _stacked(target, number))  # type: ignore[misc]  # bound at once
        for number in range(1, layer_tars.STACKED + 1)
    ]
    return [*distro(layouts), *stacked]


def _stacked(target: Path, number: int) -> None:
    layer_tars.write_stacked(target, number)


def large(layouts: Path) -> list[Path]:
    return [once(layouts / "large.tar", layer_tars.write_large)]


SHAPES: Final[dict[str, tuple[str, Callable[[Path], list[Path]]]]] = {
    "tiny": ("busybox", tiny),
    "distro": ("a distribution", distro),
    "many": (f"{layer_tars.MANY_FILES} small files", many),
    "layers": ("ten layers with whiteouts", layers),
    "large": ("large files", large),
}


def shape(layouts: Path, name: str, compression: str, *, quick: bool = False) -> Shape:
    """Return the image of that name, made now if it isn't there. `quick` has fewer small files."""
    title, tars_of = SHAPES[name]
    folder = f"{name}-{compression}"
    if quick and name == "many":
        tars, title, folder = many(layouts, QUICK_FILES), f"{QUICK_FILES} small files", f"quick-{folder}"
    else:
        tars = tars_of(layouts)
    diff_ids = [_sha256(tar) for tar in tars]
    path = layouts / folder
    if not (path / "complete").exists():
        shutil.rmtree(path, ignore_errors=True)
        _write_image(ImageLayout(path), tars, diff_ids, compression)
        (path / "complete").touch()
    return Shape(
        name, f"{title}, {compression}", compression, KeptLayout(path), tuple(tars), chain_id(diff_ids)
    )


def chain_id(diff_ids: Sequence[str]) -> str:
    """Return the image-spec's name of the topmost of a stack of layers."""
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = f"sha256:{hashlib.sha256(f'{chain} {diff_id}'.encode()).hexdigest()}"
    return chain


def _write_image(
    layout: ImageLayout, tars: Sequence[Path], diff_ids: Sequence[str], compression: str
) -> None:
    config = {
        "created": CREATED,
        "architecture": _architecture(),
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI["manifest"],
        "config": layout.add_document(config, OCI["config"]),
        "layers": [_add_layer(layout, tar, compression) for tar in tars],
    }
    layout.tag("1", layout.add_document(manifest, OCI["manifest"]))


def _add_layer(layout: ImageLayout, tar: Path, compression: str) -> dict[str, Any]:
    packed = layout.path / "layer"
    with tar.open("rb") as source, packed.open("wb") as raw:
        if compression == "gzip":
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
                shutil.copyfileobj(source, stream, _CHUNK)
        else:
            zstandard.ZstdCompressor(level=3).copy_stream(source, raw)
    digest, size = _sha256(packed), packed.stat().st_size
    packed.rename(layout.blob(digest))
    return {"mediaType": OCI[compression], "digest": digest, "size": size}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _architecture() -> str:
    command = ["dpkg", "--print-architecture"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
