"""Containers that go on before they have their memory, and a brake on what gives it to them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Final, Self

from tricorn_testing.criu import criu_program
from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_files
from tricorn_testing.registry import Registry
from tricorn_testing.waiting import eventually

USR: Final = {"target": "/usr", "source": "/usr", "options": ["ro"]}
# 60 MiB without two equal pages; tells a number and the sum of it all, over and over.
HEAVY: Final = """
import hashlib, itertools, os, time
memory = bytearray(60 << 20)
for at in range(0, len(memory), 4096):
    memory[at:at + 8] = (at + 1).to_bytes(8, "little")
for number in itertools.count():
    with open("/out/new", "w") as file:
        file.write(f"{number} {hashlib.blake2b(memory).hexdigest()}")
    os.rename("/out/new", "/out/told")
    time.sleep(0.1)
"""


def heavy_image(registry: Registry, directory: Path) -> str:
    """Push an image of what the machine's own programs run in, and return its name."""
    layout = ImageLayout(directory / "layout")
    builder = busybox_files(LayerBuilder()).symlink("lib", "usr/lib").symlink("lib64", "usr/lib64")
    layout.tag("1", layout.add_image([builder.layer("")], {"Env": ["PATH=/bin:/usr/bin"]}))
    return registry.push(layout, "1", "lazy/usr:1")


def heavy_container(image: str, place: Path) -> dict[str, Any]:
    """Return a container that tells in `place` what is in its memory."""
    return {
        "image": image, "args": ["/usr/bin/python3", "-c", HEAVY],
        "mounts": [USR, {"target": "/out", "source": str(place)}],
    }  # fmt: skip


def told(place: Path) -> list[str]:
    """Return what it told last: a number, and the sum of its memory; empty before."""
    try:
        return (place / "told").read_text().split()
    except FileNotFoundError:
        return []


def number(place: Path) -> int:
    return int((told(place) or ["0"])[0])


def serving(state: Path, container: str) -> int:
    """Return the session that the program which gives a container its memory is in, and leads."""
    return int((state / f"bundles/default/{container}/lazy-pages.pid").read_text().split()[0])


def zombie(pid: int) -> bool:
    """Return whether it has ended, collected or not."""
    with contextlib.suppress(FileNotFoundError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True


class Brake:
    """Lets programs that give containers their memory have next to no processor time, from their start on.
    Signals and the freezer won't do: CRIU takes an interrupted wait for a failure.
    """

    def __init__(self, directory: Path) -> None:
        v1 = Path("/sys/fs/cgroup/cpu")
        self._v1 = v1.is_dir()
        self._cgroup = (v1 if self._v1 else Path("/sys/fs/cgroup")) / f"tct-brake-{os.getpid()}"
        self.program = directory / "criu"

    def write(self, first: str = ":") -> None:
        """Write the program that is to be run instead of CRIU; it begins with the command `first`."""
        self.program.write_text(
            f"""#!/bin/sh
            {first}
            [ "$1" = lazy-pages ] && [ -d {self._cgroup} ] && echo $$ >{self._cgroup}/cgroup.procs
            exec {criu_program()} "$@"
            """
        )
        self.program.chmod(0o755)

    def hold(self) -> None:
        """Let them practically stand still from now on."""
        self._bound(1_000_000)

    def release(self) -> None:
        self._bound(None)

    def _bound(self, period: int | None) -> None:
        """Grant one millisecond in `period` microseconds; it never is without a bound in between."""
        if self._v1:
            if period:
                (self._cgroup / "cpu.cfs_period_us").write_text(str(period))
            (self._cgroup / "cpu.cfs_quota_us").write_text("1000" if period else "-1")
        else:
            (self._cgroup / "cpu.max").write_text(f"1000 {period}" if period else "max")

    def __enter__(self) -> Self:
        self._cgroup.mkdir()
        self._bound(100_000)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        eventually(self._removed, "it runs on")

    def _removed(self) -> bool:
        """Remove the cgroup; False while what is in it has not ended, or not been waited for."""
        try:
            self._cgroup.rmdir()
        except OSError:
            return False
        return True
