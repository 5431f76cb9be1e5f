"""The images that are pulled: built once from Debian packages, kept in .bench/, pushed to a local registry."""

from __future__ import annotations

import gzip
import hashlib
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from tricorn_testing.images import CREATED, OCI, ImageLayout, busybox_layer
from tricorn_testing.registry import Registry

DISTRO_PACKAGES = "python3,perl,vim,curl"
MANY_FILES = 70_000
_CHUNK = 1 << 20


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


def distro(layouts: Path, registry: Registry) -> Picture:
    """One layer of a Debian with python3, perl, vim and curl, as a base image has it."""
    tar = layouts / "distro.tar"
    if not tar.exists():
        half = tar.with_suffix(".half.tar")
        command = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={DISTRO_PACKAGES}",
            "--format=tar",
        ]
        subprocess.run([*command, codename(), str(half)], check=True, stdin=subprocess.DEVNULL)
        half.rename(tar)
    return _push_tar(layouts, registry, tar, "distro", "distribution")


def many_files(layouts: Path, registry: Registry, count: int = MANY_FILES) -> Picture:
    """One layer of very many small files, each with a PAX header, as package trees have them."""
    tar = layouts / f"many-{count}.tar"
    if not tar.exists():
        half = tar.with_suffix(".half")
        _write_many(half, count)
        half.rename(tar)
    return _push_tar(layouts, registry, tar, f"many-{count}", f"{count} small files")


def codename() -> str:
    """Return the name of the Debian release that runs here."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2]
    return "stable"


def _write_many(target: Path, count: int) -> None:
    dice = random.Random(20261)  # the same image on every machine
    words = [f"{dice.getrandbits(40):x}" for _ in range(4000)]
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for directory in range(count // 40):
            info = tarfile.TarInfo(f"srv/tree/{directory % 60:02}/package-{directory}")
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
            for index in range(40):
                text = " ".join(dice.choices(words, k=dice.randint(20, 1200))).encode()
                _add_file(tar, f"{info.name}/module_{index}.py", text)


def _add_file(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    import io

    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    info.pax_headers = {"mtime": "1700000000.123456789"}
    tar.addfile(info, io.BytesIO(data))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while data := stream.read(_CHUNK):
            yield data


def _push_tar(layouts: Path, registry: Registry, tar: Path, name: str, title: str) -> Picture:
    """Make an image of one gzip layer from a tar on disk (once) and push it (if it isn't there)."""
    diff_id = _sha256(tar)
    folder = layouts / name
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        layout = ImageLayout(folder)
        _add_image(layout, tar, diff_id)
        (folder / "complete").touch()
    layout = _Existing(folder)
    return Picture(registry.push(layout, "1", f"bench/{name}:1"), title, diff_id)


class _Existing(ImageLayout):
    """A layout that is on disk already."""

    def __init__(self, path: Path) -> None:
        self.path = path


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _add_image(layout: ImageLayout, tar: Path, diff_id: str) -> None:
    packed = layout.path / "layer.gz"
    with packed.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
        for data in _chunks(tar):
            stream.write(data)
    digest, size = _sha256(packed), packed.stat().st_size
    packed.rename(layout.blob(digest))
    config = {
        "created": CREATED,
        "architecture": _architecture(),
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI["manifest"],
        "config": layout.add_document(config, OCI["config"]),
        "layers": [{"mediaType": OCI["gzip"], "digest": digest, "size": size}],
    }
    layout.tag("1", layout.add_document(manifest, OCI["manifest"]))


def _architecture() -> str:
    command = ["dpkg", "--print-architecture"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
