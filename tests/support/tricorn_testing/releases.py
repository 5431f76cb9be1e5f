"""What is handed out, built from the checkout: the wheel, the collection's archive, their sums."""

from __future__ import annotations

import subprocess
from pathlib import Path

from attrs import frozen

PROJECT = Path(__file__).parents[3]


@frozen
class Release:
    directory: Path

    @property
    def wheel(self) -> Path:
        (found,) = self.directory.glob("tricorn-*.whl")
        return found

    @property
    def archive(self) -> Path:
        """The collection, as ansible-galaxy installs it."""
        (found,) = self.directory.glob("tricorn-containerd-*.tar.gz")
        return found


def build_release(directory: Path) -> Release:
    """Build the checkout as it is now; it may change while tests run."""
    done = subprocess.run(
        [PROJECT / "tools/release.sh", directory],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return Release(directory)
