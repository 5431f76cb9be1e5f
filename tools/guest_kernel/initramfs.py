"""What the kernel starts with: busybox, the modules that bring the root, and a script that goes there."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

_DIRECTORIES: Final = ("bin", "dev", "proc", "sys", "modules", "kernel", "lower", "upper", "root")
_PAD: Final = b"\0\0\0"


def write_initramfs(path: Path, busybox: Path, script: Path, modules: list[Path]) -> None:
    """Write the archive that the kernel unpacks (cpio, newc). The script finds the modules in `/order`."""
    order = "".join(f"/modules/{module.name}\n" for module in modules)
    with open(path, "wb") as file:
        file.writelines(_entry(name, stat.S_IFDIR | 0o755, b"") for name in _DIRECTORIES)
        file.write(_entry("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()))
        file.write(_entry("init", stat.S_IFREG | 0o755, script.read_bytes()))
        file.write(_entry("order", stat.S_IFREG | 0o644, order.encode()))
        file.writelines(
            _entry(f"modules/{module.name}", stat.S_IFREG | 0o644, module.read_bytes()) for module in modules
        )
        file.write(_entry("TRAILER!!!", 0, b""))


def _entry(name: str, mode: int, data: bytes) -> bytes:
    """Return a header of thirteen numbers, the name and the data, each padded to four bytes."""
    raw = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + raw
    return head + _PAD[: -len(head) % 4] + data + _PAD[: -len(data) % 4]
