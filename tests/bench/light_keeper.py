"""Keeps one light node as tools/lab/keeper.py keeps one with systemd; takes what light_init takes."""

from __future__ import annotations

import sys
from pathlib import Path

from lab import keeper


def command(_directory: Path) -> list[str]:
    return [
        "setpriv", "--pdeathsig=KILL",
        "unshare", "--mount", "--uts", "--ipc", "--pid", "--net", "--fork", "--kill-child",
        sys.executable, "-S", "-m", "light_init", *sys.argv[1:],
    ]  # fmt: skip


if __name__ == "__main__":
    keeper.command = command
    keeper.main()
