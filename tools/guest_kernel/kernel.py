"""Debian's kernel, unpacked beside the system: nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from attrs import frozen

_META: Final = "linux-image-amd64"
_WANTED: Final = ("CONFIG_MEM_SOFT_DIRTY=y", "CONFIG_NET_9P_VIRTIO=m", "CONFIG_OVERLAY_FS=m")
_MINUTES: Final = 600.0


class Unusable(Exception):
    """What is missing, and how to get it."""


@frozen
class Kernel:
    """`tree` has `boot` and `usr/lib/modules/RELEASE`, as a root has them."""

    tree: Path
    release: str

    @property
    def image(self) -> Path:
        return self.tree / f"boot/vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.tree / f"usr/lib/modules/{self.release}"

    def closure(self, names: tuple[str, ...]) -> list[Path]:
        """Return the files of modules and of all that they need, in the order in which they can be loaded."""
        needs: dict[str, tuple[str, list[str]]] = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, rest = line.partition(":")
            needs[Path(path).name.partition(".")[0]] = path, rest.split()
        found: dict[str, None] = {}
        for name in names:
            path, others = needs[name]
            found |= dict.fromkeys((*reversed(others), path))
        return [self.modules / each for each in found]


def debian_kernel(cache: Path) -> Kernel:
    """Return the release that Debian's package of the kernel stands for now, downloaded the first time."""
    package = _package()
    tree = cache / package
    if not tree.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", package], cache)
        (archive,) = cache.glob(f"{package}_*.deb")
        unpacked = cache / f"{package}.new"
        shutil.rmtree(unpacked, ignore_errors=True)
        _run(["dpkg-deb", "-x", str(archive), str(unpacked)], cache)
        archive.unlink()
        release = next((unpacked / "lib/modules").iterdir()).name
        _run(["busybox", "depmod", "-b", str(unpacked), release], cache)
        _check((unpacked / f"boot/config-{release}").read_text(), package)
        (unpacked / "lib").rename(unpacked / "usr/lib")
        unpacked.rename(tree)
    return Kernel(tree, next((tree / "usr/lib/modules").iterdir()).name)


def _package() -> str:
    found = subprocess.run(["apt-cache", "depends", _META], capture_output=True, text=True, check=False)
    for line in found.stdout.splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends":
            return name
    raise Unusable(f"apt knows no {_META}: this needs Debian on amd64, and `apt-get update`")


def _check(config: str, package: str) -> None:
    if missing := [line for line in _WANTED if line not in config.splitlines()]:
        raise Unusable(f"{package} was built without {', '.join(missing)}")


def _run(command: list[str], where: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=_MINUTES, check=False
        )
    except FileNotFoundError:
        raise Unusable(f"there is no {command[0]} here") from None
    if done.returncode:
        raise Unusable(f"`{' '.join(command)}` failed: {done.stderr.strip()[-500:]}")
