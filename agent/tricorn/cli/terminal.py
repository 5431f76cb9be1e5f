"""The terminal of the person at the command line: its size, and raw mode that always ends."""

from __future__ import annotations

import os
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def size(descriptor: int) -> tuple[int, int] | None:
    """Return rows and columns, None when the descriptor is no terminal (any more) or has no size yet."""
    try:
        found = os.get_terminal_size(descriptor)
    except OSError:
        return None
    return (found.lines, found.columns) if found.lines and found.columns else None


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Hand every key through unread while inside; the former mode is restored however this ends.

    The former mode is restored with TCSAFLUSH: keys typed at a container that is gone must not become
    commands of the shell. A terminal that hung up meanwhile has no mode to restore.
    """
    former = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        with suppress(termios.error, OSError):
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, former)
