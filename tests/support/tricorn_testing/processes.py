"""Looks at processes by what they were started with, and ends those that belong to a test."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path


def process_ids() -> Iterator[int]:
    yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def command_line(pid: int) -> list[str]:
    """Return the process's arguments; empty for one that is gone, a zombie or a kernel thread."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(part) for part in raw.rstrip(b"\0").split(b"\0")] if raw else []


def processes_naming(prefix: str) -> dict[int, list[str]]:
    """Return the processes with an argument, a working directory or a root below `prefix`."""
    found = {}
    for pid in process_ids():
        arguments = command_line(pid)
        if (
            pid != os.getpid()
            and arguments
            and (any(prefix in text for text in arguments) or _lives_below(pid, prefix))
        ):
            found[pid] = arguments
    return found


def _lives_below(pid: int, prefix: str) -> bool:
    for link in ("cwd", "root"):
        try:
            if os.readlink(f"/proc/{pid}/{link}").startswith(prefix):
                return True
        except OSError:
            continue
    return False


def kill_naming(prefix: str, timeout: float = 5.0) -> None:
    """SIGKILL every process that `processes_naming` finds, until none is left."""
    deadline = time.monotonic() + timeout
    while (found := processes_naming(prefix)) and time.monotonic() < deadline:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def resident_kib(pid: int) -> int:
    return status_field(pid, "VmRSS")


def status_field(pid: int, name: str) -> int:
    """Return a number of /proc/PID/status, 0 where there is none."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def proportional_kib(pid: int) -> int:
    """Return the process's PSS: its private pages and its share of the shared ones."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def cpu_seconds(pid: int) -> float:
    """Return user and system time of the process and of its reaped children."""
    text = Path(f"/proc/{pid}/stat").read_text()
    fields = text.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
