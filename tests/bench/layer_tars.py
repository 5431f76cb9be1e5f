"""The tars that the benchmark's images are made of: the same bytes on every machine of one Debian release."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attrs import Factory, define

from tricorn_testing.images import OPAQUE, LayerBuilder, busybox_files

DISTRO_PACKAGES = "python3,perl,vim,curl"
MANY_FILES = 70_000
LARGE_FILES = 5
LARGE_SIZE = 210 << 20  # of each
_PACKAGES = "usr/local/lib/python3/dist-packages"
_MTIME = 1_700_000_000


def once(tar: Path, write: Callable[[Path], None]) -> Path:
    """Return `tar`, which `write` makes whole or not at all if it isn't there."""
    if not tar.exists():
        half = tar.with_suffix(".half.tar")
        write(half)
        half.rename(tar)
    return tar


def codename() -> str:
    """Return the name of the Debian release that runs here."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2]
    return "stable"


def write_tiny(target: Path) -> None:
    """busybox with its 400 hard links: another layer than that of the image that all sides keep."""
    target.write_bytes(busybox_files(LayerBuilder()).file("etc/shape", "tiny").tar())


def write_distro(target: Path) -> None:
    """A Debian with python3, perl, vim and curl, as base images have it."""
    words = ["--quiet", "--variant=minbase", f"--include={DISTRO_PACKAGES}", "--format=tar"]
    command = ["mmdebstrap", *words, codename(), str(target)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(_MTIME)}
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=environment)


def write_many(target: Path, count: int) -> None:
    """Very many small files, each with a PAX header, as package trees have them."""
    dice = random.Random(20261)
    words = [f"{dice.getrandbits(40):x}" for _ in range(4000)]
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for directory in range(count // 40):
            info = tarfile.TarInfo(f"srv/tree/{directory % 60:02}/package-{directory}")
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
            for index in range(40):
                text = " ".join(dice.choices(words, k=dice.randint(20, 1200))).encode()
                info_file = tarfile.TarInfo(f"{info.name}/module_{index}.py")
                info_file.size, info_file.mode = len(text), 0o644
                info_file.pax_headers = {"mtime": "1700000000.123456789"}
                tar.addfile(info_file, io.BytesIO(text))


def write_large(target: Path) -> None:
    """A few large files that compress by a third, as models and archives do."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(LARGE_FILES):
            info = tarfile.TarInfo(f"opt/models/weights-{number}.bin")
            info.size, info.mode, info.mtime = LARGE_SIZE, 0o644, _MTIME
            tar.addfile(info, io.BufferedReader(_Mixture(number)))


class _Mixture(io.RawIOBase):
    """Endless bytes: noise and text in turn."""

    def __init__(self, seed: int) -> None:
        self._blocks = self._generate(random.Random(seed))
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # any buffer will do
        data = self._rest or next(self._blocks)
        count = min(len(buffer), len(data))
        buffer[:count], self._rest = data[:count], data[count:]
        return count

    @staticmethod
    def _generate(dice: random.Random) -> Iterator[bytes]:
        words = [f"{dice.getrandbits(40):x} ".encode() for _ in range(2000)]
        while True:
            yield dice.randbytes(24 << 10)
            yield b"".join(dice.choices(words, k=4000))[: 40 << 10]


# ------------------------------------------------------------------ many layers
def write_stacked(target: Path, number: int) -> None:
    """Layer `number` (1 to 9) of what is built on the distribution: packages come, change and go."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        _STACK[number - 1](_Writer(tar, random.Random(number)))


@define
class _Writer:
    tar: tarfile.TarFile
    dice: random.Random
    words: list[str] = Factory(list)

    def __attrs_post_init__(self) -> None:
        self.words = [f"{self.dice.getrandbits(44):x}" for _ in range(3000)]

    def directory(self, path: str, mode: int = 0o755) -> None:
        self._add(path, tarfile.DIRTYPE, mode)

    def text(self, path: str, most: int = 2400, **more: str) -> None:
        words = self.dice.choices(self.words, k=self.dice.randint(10, most))
        self._add(path, tarfile.REGTYPE, 0o644, " ".join(words).encode(), xattrs=more)

    def binary(self, path: str, size: int) -> None:
        noise = self.dice.randbytes(size // 2)
        self._add(path, tarfile.REGTYPE, 0o755, noise + " ".join(self.words * 60).encode()[: size // 2])

    def link(self, path: str, target: str) -> None:
        self._add(path, tarfile.LNKTYPE, 0o644, link=target)

    def symlink(self, path: str, target: str) -> None:
        self._add(path, tarfile.SYMTYPE, 0o777, link=target)

    def device(self, path: str, minor: int) -> None:
        self._add(path, tarfile.CHRTYPE, 0o666, device=(1, minor))

    def whiteout(self, path: str) -> None:
        head, _, name = path.rpartition("/")
        self._add(f"{head}/.wh.{name}", tarfile.REGTYPE, 0o644)

    def opaque(self, path: str) -> None:
        self._add(f"{path}/{OPAQUE}", tarfile.REGTYPE, 0o644)

    def _add(
        self, path: str, kind: bytes, mode: int, data: bytes = b"", *, link: str = "",
        device: tuple[int, int] = (0, 0), xattrs: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.size, info.linkname, info.mtime = kind, mode, len(data), link, _MTIME
        info.devmajor, info.devminor = device
        info.pax_headers = {f"SCHILY.xattr.user.{key}": value for key, value in (xattrs or {}).items()}
        self.tar.addfile(info, io.BytesIO(data))


def _packages(writer: _Writer, first: int, last: int, files: int) -> None:
    for package in range(first, last):
        writer.directory(f"{_PACKAGES}/package_{package}")
        for index in range(files):
            writer.text(f"{_PACKAGES}/package_{package}/module_{index}.py")


def _changed(writer: _Writer) -> None:
    """Updates: some modules are replaced, some go."""
    for package in range(100):
        writer.directory(f"{_PACKAGES}/package_{package}")
        for index in range(0, 30, 3):
            writer.text(f"{_PACKAGES}/package_{package}/module_{index}.py")
            writer.whiteout(f"{_PACKAGES}/package_{package}/module_{index + 1}.py")


def _replaced(writer: _Writer) -> None:
    """Directories that hide all that lower layers have in them."""
    for package in range(100, 180):
        path = f"{_PACKAGES}/package_{package}"
        writer.directory(path)
        writer.opaque(path)
        for index in range(20):
            writer.text(f"{path}/module_{index}.py")


def _unusual(writer: _Writer) -> None:
    """Devices, attributes, links, names that take PAX records."""
    writer.directory("srv/unusual")
    for number in range(3, 10):
        writer.device(f"srv/unusual/device_{number}", number)
    for number in range(1500):
        writer.text(f"srv/unusual/{'very-long-name-' * 9}{number}.txt", 600)
        writer.text(f"srv/unusual/attributed-{number}", 300, note=f"number {number}")
        writer.symlink(f"srv/unusual/link-{number}", f"attributed-{number}")


def _programs(writer: _Writer) -> None:
    writer.directory("opt/programs")
    for number in range(40):
        writer.binary(f"opt/programs/program-{number}", 3 << 20)


def _linked(writer: _Writer) -> None:
    writer.directory("srv/linked")
    for number in range(1500):
        writer.text(f"srv/linked/file-{number}", 1500)
        writer.link(f"srv/linked/other-{number}", f"srv/linked/file-{number}")


def _removed(writer: _Writer) -> None:
    for package in range(200, 260):
        writer.whiteout(f"{_PACKAGES}/package_{package}")
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale"):
        writer.whiteout(name)


def _settings(writer: _Writer) -> None:
    writer.directory("etc")
    writer.text("etc/application.conf", 200)


_STACK: tuple[Callable[[_Writer], None], ...] = (
    lambda writer: _packages(writer, 0, 260, 30),
    _changed,
    _replaced,
    lambda writer: _packages(writer, 300, 360, 50),
    _unusual,
    _programs,
    _linked,
    _removed,
    _settings,
)
STACKED = len(_STACK)
