"""Making directories that only root may enter, in parents that come and go: whoever removes what was last in
a namespace's directory removes that, too, while somebody else makes something in it.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress


def make_directory(path: str) -> None:
    """Make an empty directory, and its parents, which others may make or remove (they are empty) at the same
    time. FileExistsError if it is there.
    """
    while True:
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            ensure_directory(os.path.dirname(path))
        else:
            return


def ensure_directory(path: str) -> None:
    """Make a directory, likewise, unless it is there."""
    with suppress(FileExistsError):
        make_directory(path)


def renew_directory(path: str) -> None:
    """Make an empty directory, likewise, in place of what is there."""
    shutil.rmtree(path, ignore_errors=True)
    make_directory(path)
