"""Builds the demo's image from Debian packages: three layers, the same digest for the same packages."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from tricorn_testing.images import ImageLayout, Layer, LayerBuilder

BASE_PACKAGES = ("base-files", "netbase", "libc6", "busybox-static")
FUN_PACKAGES = ("figlet",)
# Of no use inside an image; the licences stay.
_LEFT_OUT = ("usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bug")

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/srv/www:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"
SERVE = """\
#!/bin/sh
# The first process of a container gets no default signal handling from the kernel: say what TERM means.
trap 'echo "stopping"; exit 0' TERM INT
httpd -f -v -p "${PORT:-8080}" -h /srv/www &
echo "serving /srv/www on port ${PORT:-8080} as $(id -un)"
wait
"""
PAGE = """\
<!doctype html>
<title>Tricorn</title>
<h1>It runs.</h1>
<p>This page comes out of a container that an Ansible playbook asked for
and that tricornd pulled, unpacked, started and watches.</p>
"""


class DemoError(Exception):
    """A step that failed: what, and what to try."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


@frozen
class BuiltLayer:
    title: str
    layer: Layer


@frozen
class BuiltImage:
    layout: ImageLayout
    digest: str
    layers: tuple[BuiltLayer, ...]
    packages: tuple[str, ...]  # name and version

    @property
    def tag(self) -> str:
        """Made from the digest: a tag that moved would leave a present image as it is."""
        return self.digest.removeprefix("sha256:")[:12]


def build(work: Path) -> BuiltImage:
    """Download the packages (once) below `work` and write the image layout there."""
    debs = download(work / "packages", (*BASE_PACKAGES, *FUN_PACKAGES))
    layers = (
        BuiltLayer(
            "Debian: libc, busybox, accounts", _base_layer(work, [debs[name] for name in BASE_PACKAGES])
        ),
        BuiltLayer(
            "figlet, for large words", _package_layer(work, "fun", [debs[name] for name in FUN_PACKAGES])
        ),
        BuiltLayer("a page and the server's start", _site_layer()),
    )
    shutil.rmtree(work / "image", ignore_errors=True)
    layout = ImageLayout(work / "image")
    config = {
        "User": "www-data",
        "WorkingDir": "/srv/www",
        "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PORT=8080"],
        "Cmd": ["/usr/bin/serve"],
        "ExposedPorts": {"8080/tcp": {}},
        "Labels": {"org.opencontainers.image.title": "Tricorn demo"},
    }
    manifest = layout.add_image([built.layer for built in layers], config, platform=_platform())
    image = BuiltImage(layout, manifest["digest"], layers, tuple(map(_describe, debs.values())))
    layout.tag(image.tag, manifest)
    return image


def download(directory: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Return name → .deb, asking Debian only for those that aren't there yet."""
    directory.mkdir(parents=True, exist_ok=True)
    if missing := [name for name in names if not list(directory.glob(f"{name}_*.deb"))]:
        command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *missing]
        outcome = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        if outcome.returncode:
            raise DemoError(
                f"could not download {', '.join(missing)}: {outcome.stderr.strip()[-300:]}",
                "run `apt-get update`, then `make demo` again",
            )
    return {name: next(directory.glob(f"{name}_*.deb")) for name in names}


def _describe(deb: Path) -> str:
    name, version, _ = deb.name.split("_", 2)
    return f"{name} {version.replace('%3a', ':')}"


def _platform() -> str:
    run = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return {"armhf": "linux/arm/v7", "i386": "linux/386"}.get(
        run.stdout.strip(), f"linux/{run.stdout.strip()}"
    )


def _unpack(work: Path, name: str, debs: list[Path]) -> Path:
    root = work / "unpacked" / name
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for deb in debs:
        subprocess.run(["dpkg-deb", "-x", str(deb), str(root)], check=True)
    return root


def _wanted(path: str) -> bool:
    if path.startswith("usr/share/doc/"):
        return path.endswith("/copyright") or path.count("/") == 3
    return not path.startswith(_LEFT_OUT) and "/gconv/" not in path


def _package_layer(work: Path, name: str, debs: list[Path]) -> Layer:
    builder = LayerBuilder().tree(_unpack(work, name, debs), _wanted)
    # Debian's alternatives would make this link when the package is configured.
    return builder.symlink("usr/bin/figlet", "figlet-figlet").layer("gzip")


def _base_layer(work: Path, debs: list[Path]) -> Layer:
    root = _unpack(work, "base", debs)
    builder = LayerBuilder().tree(root, _wanted)
    builder.file("etc/passwd", PASSWD).file("etc/group", GROUP)
    for path in _applets(root):
        builder.symlink(path, "/bin/busybox")
    return builder.layer("gzip")


def _applets(root: Path) -> Iterator[str]:
    """Yield the places of busybox's applets that no package fills. (Scripts ask for /bin/sh by that name.)"""
    listing = subprocess.run([root / "bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for applet in sorted(set(listing.stdout.split()) - {"busybox", "sh"}):
        if not any((root / place / applet).exists() for place in ("bin", "sbin", "usr/bin", "usr/sbin")):
            yield f"usr/bin/{applet}"
    if not (root / "bin/sh").exists():
        yield "usr/bin/sh" if (root / "bin").is_symlink() else "bin/sh"


def _site_layer() -> Layer:
    builder = LayerBuilder().directory("srv").directory("srv/www")
    return builder.file("srv/www/index.html", PAGE).file("usr/bin/serve", SERVE, mode=0o755).layer("gzip")
