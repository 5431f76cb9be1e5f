"""Builds small real images: tar layers, then an OCI layout directory with manifests and indexes.

The same input gives the same digests: entries carry no clock and no builder's name.

    layer = LayerBuilder().directory("etc").file("etc/motd", "hello").layer("zstd")
    layout = ImageLayout(path)
    layout.tag("v1", layout.add_image([layer], {"Cmd": ["/bin/sh"]}))
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import zstandard
from attrs import field, frozen

Compression = Literal["", "gzip", "zstd"]
Json = dict[str, Any]

OCI = {
    "index": "application/vnd.oci.image.index.v1+json",
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
DOCKER = {
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "": "application/vnd.docker.image.rootfs.diff.tar",
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
CREATED = "2026-01-01T00:00:00Z"
OPAQUE = ".wh..wh..opq"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@frozen
class Layer:
    """One layer; `blob` is `tar` under `compression`."""

    tar: bytes = field(repr=False)
    compression: Compression
    blob: bytes = field(repr=False)

    @classmethod
    def of(cls, tar: bytes, compression: Compression = "gzip") -> Layer:
        return cls(tar, compression, compress(tar, compression))

    @property
    def diff_id(self) -> str:
        return sha256(self.tar)

    @property
    def digest(self) -> str:
        return sha256(self.blob)


def compress(data: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return gzip.compress(data, compresslevel=6, mtime=0)
    if compression == "zstd":
        return zstandard.ZstdCompressor(level=3).compress(data)
    return data


class LayerBuilder:
    """Writes tar entries in the order of the calls. Paths are relative, as images have them."""

    def __init__(self, tar_format: int = tarfile.PAX_FORMAT, mtime: int = 1_700_000_000) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tar_format)  # noqa: SIM115 - closed by `tar`
        self._mtime = mtime

    def add(
        self,
        path: str,
        kind: bytes = tarfile.REGTYPE,
        data: bytes = b"",
        *,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        mtime: float | None = None,
        link: str = "",
        device: tuple[int, int] = (0, 0),
        xattrs: Mapping[str, str] | None = None,
    ) -> LayerBuilder:
        """Add an entry of any kind, hostile ones included: nothing is checked."""
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.uid, info.gid, info.linkname = kind, mode, uid, gid, link
        info.mtime = self._mtime if mtime is None else mtime  # type: ignore[assignment]  # floats make PAX records
        info.devmajor, info.devminor = device
        info.size = len(data)
        info.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in (xattrs or {}).items()}
        self._tar.addfile(info, io.BytesIO(data))
        return self

    def file(self, path: str, data: bytes | str = b"", *, mode: int = 0o644, **more: Any) -> LayerBuilder:
        return self.add(path, data=data.encode() if isinstance(data, str) else data, mode=mode, **more)

    def directory(self, path: str, *, mode: int = 0o755, **more: Any) -> LayerBuilder:
        return self.add(path.rstrip("/") + "/", tarfile.DIRTYPE, mode=mode, **more)

    def symlink(self, path: str, target: str, **more: Any) -> LayerBuilder:
        return self.add(path, tarfile.SYMTYPE, link=target, mode=0o777, **more)

    def hardlink(self, path: str, target: str, **more: Any) -> LayerBuilder:
        return self.add(path, tarfile.LNKTYPE, link=target, **more)

    def character_device(self, path: str, major: int, minor: int, **more: Any) -> LayerBuilder:
        return self.add(path, tarfile.CHRTYPE, device=(major, minor), **more)

    def fifo(self, path: str, **more: Any) -> LayerBuilder:
        return self.add(path, tarfile.FIFOTYPE, **more)

    def whiteout(self, path: str) -> LayerBuilder:
        head, _, name = path.rpartition("/")
        return self.file(f"{head}/.wh.{name}" if head else f".wh.{name}")

    def opaque(self, directory: str) -> LayerBuilder:
        return self.file(f"{directory.rstrip('/')}/{OPAQUE}")

    def tree(self, root: Path, select: Callable[[str], bool] = lambda _: True) -> LayerBuilder:
        """Add what is below `root`, in sorted order, owned by root, without its times; `select` gets
        relative paths.
        """
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if select(name):
                self._add_path(path, name)
        return self

    def _add_path(self, path: Path, name: str) -> None:
        status = path.lstat()
        mode = status.st_mode & 0o7777
        if path.is_symlink():
            self.symlink(name, os.readlink(path))
        elif path.is_dir():
            self.directory(name, mode=mode)
        elif path.is_file():
            self.file(name, path.read_bytes(), mode=mode)

    def tar(self) -> bytes:
        """Return the whole archive. No entry can be added afterwards."""
        self._tar.close()
        return self._buffer.getvalue()

    def layer(self, compression: Compression = "gzip") -> Layer:
        return Layer.of(self.tar(), compression)


class ImageLayout:
    """An OCI image layout directory (image-spec, image-layout.md): `oci:PATH:TAG` for skopeo."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._tags: dict[str, Json] = {}
        self._write_tags()

    def blob(self, digest: str) -> Path:
        algorithm, _, value = digest.partition(":")
        return self.path / "blobs" / algorithm / value

    def add_blob(self, data: bytes, media_type: str) -> Json:
        digest = sha256(data)
        self.blob(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def add_document(self, document: Mapping[str, Any], media_type: str) -> Json:
        return self.add_blob(json.dumps(document, indent=1).encode(), media_type)

    def add_image(
        self,
        layers: Sequence[Layer],
        config: Mapping[str, Any] | None = None,
        *,
        platform: str = "linux/amd64",
        docker: bool = False,
        annotations: Mapping[str, str] | None = None,
    ) -> Json:
        """Write a manifest with its config and layers; return its descriptor, platform included."""
        types = DOCKER if docker else OCI
        platform_members = _platform(platform)
        image = {
            "created": CREATED,
            **platform_members,
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": CREATED, "created_by": "tricorn tests"} for _ in layers],
        }
        manifest: Json = {
            "schemaVersion": 2,
            "mediaType": types["manifest"],
            "config": self.add_document(image, types["config"]),
            "layers": [self.add_blob(layer.blob, types[layer.compression]) for layer in layers],
        }
        if annotations:
            manifest["annotations"] = dict(annotations)
        return {**self.add_document(manifest, types["manifest"]), "platform": platform_members}

    def add_index(self, manifests: Sequence[Json], *, docker: bool = False) -> Json:
        media_type = (DOCKER if docker else OCI)["index"]
        index = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests)}
        return self.add_document(index, media_type)

    def tag(self, name: str, descriptor: Json) -> str:
        """Name a manifest or index in the layout's `index.json`; return its digest."""
        bare = {key: value for key, value in descriptor.items() if key != "platform"}
        self._tags[name] = {**bare, "annotations": {"org.opencontainers.image.ref.name": name}}
        self._write_tags()
        return str(descriptor["digest"])

    def _write_tags(self) -> None:
        index = {"schemaVersion": 2, "mediaType": OCI["index"], "manifests": list(self._tags.values())}
        (self.path / "index.json").write_text(json.dumps(index, indent=1))

    def document(self, digest: str) -> Json:
        loaded: Json = json.loads(self.blob(digest).read_bytes())
        return loaded

    def archive(self, target: Path) -> Path:
        """Write the layout as a tar (what `image import` takes); return `target`."""
        with tarfile.open(target, "w") as tar:
            for path in sorted(self.path.rglob("*")):
                tar.add(path, str(path.relative_to(self.path)), recursive=False)
        return target


def _platform(text: str) -> Json:
    parts = text.split("/")
    members = {"os": parts[0], "architecture": parts[1]}
    return members | ({"variant": parts[2]} if len(parts) > 2 else {})


def find_busybox() -> str | None:
    """Return the path of a statically linked busybox on this machine, or None."""
    for candidate in (shutil.which("busybox"), "/bin/busybox", "/usr/bin/busybox"):
        if candidate and b"ld-linux" not in Path(candidate).read_bytes()[:4096]:
            return candidate
    return None


def busybox_files(builder: LayerBuilder, busybox: str | None = None) -> LayerBuilder:
    """Add a minimal root file system around busybox: its applets, accounts, the usual directories."""
    program = busybox or find_busybox()
    if program is None:
        raise FileNotFoundError("no static busybox here: apt-get install busybox-static")
    for name in ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "usr/bin", "var"):
        builder.directory(name)
    builder.directory("tmp", mode=0o1777)
    builder.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home:/bin/sh\n")
    builder.file("etc/group", "root:x:0:\nweb:x:1000:\nextra:x:1001:web\n")
    builder.file("etc/os-release", 'ID=tricorn-test\nPRETTY_NAME="busybox, for tests"\n')
    builder.file("bin/busybox", Path(program).read_bytes(), mode=0o755)
    listing = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout
    for applet in sorted(set(listing.split()) - {"busybox"}):
        builder.hardlink(f"bin/{applet}", "bin/busybox", mode=0o755)
    return builder


def busybox_layer(compression: Compression = "gzip") -> Layer:
    return busybox_files(LayerBuilder()).layer(compression)


def busybox_image(layout: ImageLayout, tag: str = "busybox", **config: Any) -> str:
    """Add a one-layer image with a shell and tag it; return the manifest's digest."""
    settings = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin:/usr/bin"], **config}
    return layout.tag(tag, layout.add_image([busybox_layer()], settings))
