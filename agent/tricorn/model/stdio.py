"""Where a process's stdio goes, as containerd's clients say it."""

from __future__ import annotations

from attrs import frozen


@frozen
class Stdio:
    """Three places and whether the process has a terminal (then `stderr` is unused).

    Each place is what the client gave: a plain path or `fifo://` (a FIFO that the client made),
    `file:///path`, `binary:///program?key=value`, `streaming://id` (of the streaming service), or "" for
    nothing (/dev/null).
    """

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


NULL_STDIO = Stdio()
