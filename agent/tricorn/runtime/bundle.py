"""What lies in a container's bundle directory, and the small records in it."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from attrs import frozen

from tricorn.errors import Internal, Unimplemented
from tricorn.model.records import ProcessIdentity
from tricorn.ports import BundleRef, Created

_RUNTIME_FILES: Final = (
    "pid",
    "attach",
    "ctl",
    "winsz",
    "sync",
    "processes",
    "cgroup",
    "runtime.log",
    "stdin-ended",
    "logger",
)
_RUNTIME_DIRECTORIES: Final = ("exit", "persist", "exec")
_MOST: Final = (1 << 31, 1 << 62) * 2  # ids of processes, and the clock ticks of their starts
NULL_IDENTITY: Final = ProcessIdentity(0, 0)


@frozen
class Bundle:
    """The paths of one monitored process: a container's bundle, or an exec's directory inside it."""

    path: str
    container: str

    @classmethod
    def of(cls, ref: BundleRef) -> Bundle:
        return cls(ref.bundle, ref.id)

    def exec(self, exec_id: str) -> Bundle:
        return Bundle(f"{self.path}/exec/{exec_id}", self.container)

    def execs(self) -> list[Bundle]:
        """Return the directories of the execs there are."""
        try:
            return [self.exec(name) for name in os.listdir(self.file("exec"))]
        except FileNotFoundError:
            return []

    def exists(self) -> bool:
        return os.path.isdir(self.path)

    def file(self, name: str) -> str:
        return f"{self.path}/{name}"

    @property
    def exit_file(self) -> str:
        return f"{self.path}/exit/{self.container}"

    def prepare(self) -> None:
        """Make the directories and the sync FIFO that a monitor needs; leftovers of a crash go first."""
        self.clear()
        for name in ("exit", "persist"):
            os.makedirs(self.file(name), mode=0o700, exist_ok=True)
        os.mkfifo(self.file("sync"), 0o600)

    def clear(self) -> None:
        """Remove what monitor and runtime left; config.json and rootfs are the caller's."""
        for name in _RUNTIME_FILES:
            with suppress(FileNotFoundError):
                os.unlink(self.file(name))
        for name in _RUNTIME_DIRECTORIES:
            shutil.rmtree(self.file(name), ignore_errors=True)

    def remove(self) -> None:
        """Remove an exec's directory, whole."""
        shutil.rmtree(self.path, ignore_errors=True)

    def read_exit(self) -> tuple[int, datetime] | None:
        """Return the exit code and its time as the monitor wrote them; None while there is none."""
        try:
            with open(self.exit_file, encoding="ascii") as file:
                code = int(file.read(32))
                at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return (code if code >= 0 else 255), at

    def read_pid(self) -> int:
        """Return the pid that the runtime wrote, 0 when there is none."""
        try:
            with open(self.file("pid"), encoding="ascii") as file:
                return int(file.read(32))
        except (FileNotFoundError, ValueError):
            return 0

    def save_created(self, created: Created) -> None:
        pair = [created.init.pid, created.init.start_ticks, created.monitor.pid, created.monitor.start_ticks]
        self.write("processes", json.dumps(pair))

    def read_created(self) -> Created | None:
        """Return what `save_created` wrote, None without it and for what can't be such a record."""
        try:
            with open(self.file("processes"), encoding="ascii") as file:
                init, init_ticks, monitor, monitor_ticks = numbers = json.load(file)
        except (FileNotFoundError, ValueError, TypeError):
            return None
        bounds = zip(numbers, _MOST, strict=True)
        if not all(type(number) is int and 0 <= number < most for number, most in bounds):
            return None
        return Created(ProcessIdentity(init, init_ticks), ProcessIdentity(monitor, monitor_ticks))

    def save_cgroup(self, path: str) -> None:
        self.write("cgroup", path)

    def read_cgroup(self) -> str:
        """Return the container's cgroup path, "" when none was recorded, or nothing that is a path."""
        try:
            with open(self.file("cgroup"), encoding="utf-8") as file:
                path = file.read(4096)
        except (FileNotFoundError, UnicodeDecodeError):
            return ""
        return path if path.startswith("/") and path.isprintable() else ""

    def oom_noted(self) -> bool:
        """Return whether the monitor saw an out-of-memory kill."""
        return os.path.exists(self.file("persist/oom")) or os.path.exists(self.file("oom"))

    def write_config(self, config: dict[str, Any]) -> None:
        """Put another config.json in the place of the bundle's."""
        self.write("config.json", msgspec.json.encode(config).decode())

    def write(self, name: str, text: str) -> None:
        """Write a small record, whole or not at all."""
        staged = self.file(f"{name}.new")
        with open(staged, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(staged, self.file(name))


def read_config(bundle: Bundle) -> dict[str, Any]:
    """Return the bundle's config.json."""
    try:
        with open(bundle.file("config.json"), "rb") as file:
            config = msgspec.json.decode(file.read())
    except (OSError, ValueError) as error:
        raise Internal(
            f"the bundle of {bundle.container} has no usable config.json", why=str(error)
        ) from None
    if not isinstance(config, dict):
        raise Internal(f"config.json of {bundle.container} is not an object")
    return config


def find_config(bundle: Bundle) -> dict[str, Any] | None:
    """Return the bundle's config.json, None when there is no usable one."""
    with suppress(Internal):
        return read_config(bundle)
    return None


def cgroup_path(config: dict[str, Any], container: str) -> str:
    """Return the cgroup path that a runtime makes of this config (relative to each hierarchy's root)."""
    path = str((config.get("linux") or {}).get("cgroupsPath") or f"/{container}")
    if ":" in path:
        raise Unimplemented(
            "cgroups managed by systemd",
            why=f"cgroupsPath {path[:200]!r} is in systemd's form",
            hint="give a path, such as /tricorn/NAMESPACE/ID",
            field="linux.cgroupsPath",
        )
    clean = os.path.normpath(f"/{path}")
    return "/" + clean.lstrip("/")
