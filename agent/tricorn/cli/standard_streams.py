"""What a command may rely on of its standard streams, however clumsily it was started."""

from __future__ import annotations

import io
import os
import sys
from typing import Final

_MODES: Final = (os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)  # reading what is there to be written fails: EBADF


def prepare() -> None:
    """Occupy those of the first three descriptors that are closed, as GNU's programs do: a socket would be
    given such a number, and the command would talk to itself. Then stdin is at its end, what goes to stdout
    fails, and stderr goes nowhere. Characters that the locale doesn't have are replaced.
    """
    for number, flags in enumerate(_MODES):
        try:
            os.fstat(number)
        except OSError:
            _occupy(number, flags)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _occupy(number: int, flags: int) -> None:
    opened = os.open(os.devnull, flags)  # the lowest free one, thus this one
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    os.set_inheritable(number, True)  # noqa: FBT003 - its own signature
    if number == 0:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as the interpreter's own, for good
    elif number == 1:
        sys.stdout = _write_only(1)
    else:
        sys.stderr = _write_only(2)


def _write_only(number: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), encoding="utf-8")
