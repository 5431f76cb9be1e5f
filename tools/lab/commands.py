"""Programs that the lab runs: their own words are the error."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from lab.topology import LabError


def run(command: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> str:
    """Return a program's output; LabError with what it said if it fails or takes too long."""
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )  # fmt: skip
    except FileNotFoundError:
        raise LabError(f"{command[0]} isn't installed here", "make setup") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"`{' '.join(command)}` takes more than {timeout:.0f} s") from None
    if done.returncode:
        raise LabError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout
