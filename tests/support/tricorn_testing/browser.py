"""A headless Chromium that shows a page of this machine, where one is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from attrs import frozen

PROGRAMS = ("chromium-headless-shell", "chromium")
MISSING = "no Chromium: TRICORN_BROWSER=1 make setup (Debian's chromium-headless-shell)"


@frozen
class Shown:
    """The page's elements after it was drawn, and what it said on the console."""

    dom: str
    console: tuple[str, ...]


def browser() -> str | None:
    """Return the program, None if there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def show(program: str, page: Path, profile: Path, *words: str) -> Shown:
    """Draw the page; `profile` is a directory of the browser's own. AssertionError if it fails."""
    command = [
        program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=2000", *words,
        "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return Shown(done.stdout, tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line))
