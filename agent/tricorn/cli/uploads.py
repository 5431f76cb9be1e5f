"""Files that a command sends to the agent: opened, measured, read in pieces."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO, Final

from tricorn.errors import InvalidArgument

_CHUNK: Final = 1 << 20


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """Give the file to read; InvalidArgument if it can't be opened."""
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below, outside of the handler
    except OSError as error:
        raise InvalidArgument(f"{path} can't be read", why=error.strerror or "") from None
    with file:
        yield file


def size_of(file: str) -> int:
    """Return its size in bytes, 0 if that isn't known."""
    return 0 if file == "-" else os.path.getsize(file)


def pieces(source: IO[bytes]) -> Iterator[bytes]:
    """Yield what is in the file."""
    while data := source.read(_CHUNK):
        yield data
