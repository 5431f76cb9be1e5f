"""Exit statuses of `run` and `exec` when the agent refused, as shells and other engines have them."""

from __future__ import annotations

from typing import Final

from tricorn.errors import TricornError

REFUSED: Final = 125
_TELLING: Final = (  # what crun and runc say, and with it what a shell would have exited with
    ("executable file not found", 127),
    ("executable file `", 127),
    ("no such file or directory", 127),
    ("is a directory", 126),
    ("permission denied", 126),
    ("operation not permitted", 126),
    ("exec format error", 126),
)


def program_status(error: TricornError) -> int:
    """Return 127 when the program wasn't found, 126 when it can't be executed, else 125.

    The agent may say so itself (`exit_code` among the details); else the runtime's words tell. Words only
    count in an error about the start of a program, which the runtimes mark with `exec` or `executable`.
    """
    if error.details.get("exit_code") in (126, 127):
        return int(error.details["exit_code"])
    text = f"{error.what} {error.why}".lower()
    if "exec" not in text:
        return REFUSED
    return next((status for words, status in _TELLING if words in text), REFUSED)
