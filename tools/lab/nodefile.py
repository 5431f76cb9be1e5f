"""What a node's keeper and its init have to know, as a file. Only the standard library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class NodeFile(NamedTuple):
    """`base` is the file system below, `cgroup` LAB/NODE, `memory` in MiB, `address` with its prefix."""

    name: str
    base: str
    bridge: str
    interface: str
    address: str
    cgroup: str
    memory: int

    @classmethod
    def read(cls, directory: Path) -> NodeFile:
        """Return the file's content; OSError, ValueError or TypeError if there is none that fits."""
        return cls(**json.loads((directory / "node.json").read_text()))

    def write(self, directory: Path) -> None:
        (directory / "node.json").write_text(json.dumps(self._asdict(), indent=1))


def disk(directory: Path) -> Path:
    return directory / "disk.img"


def console(directory: Path) -> Path:
    """Return where systemd, and what comes before it, write their complaints."""
    return directory / "console"
