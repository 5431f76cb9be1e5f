"""The program that holds a sandbox: an executable that waits for SIGTERM and leaves no zombies."""

from __future__ import annotations

import os
import platform
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn.errors import Unimplemented
from tricorn.runtime.pause import pause_program


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = tmp_path / "pause"
    program.write_bytes(pause_program())
    program.chmod(0o755)
    with subprocess.Popen([program]) as process:
        try:
            waits(process.pid)
            yield process
        finally:
            process.kill()


def waits(pid: int) -> None:
    """Return once the process sleeps with its signals set up: in its last system call."""
    deadline = time.monotonic() + 30
    while not ignores_children(pid) or Path(f"/proc/{pid}/stat").read_text().split()[2] != "S":
        assert time.monotonic() < deadline, "it doesn't wait"
        time.sleep(0.01)


def ignores_children(pid: int) -> bool:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"], 16) & 1 << (signal.SIGCHLD - 1))


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="not written for this machine")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_when_asked(running: subprocess.Popen[bytes], number: signal.Signals) -> None:
    running.send_signal(number)
    assert running.wait(30) == 0


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="not written for this machine")
def test_other_signals_do_not_end_it(running: subprocess.Popen[bytes]) -> None:
    os.kill(running.pid, signal.SIGCHLD)
    os.kill(running.pid, signal.SIGSTOP)
    os.kill(running.pid, signal.SIGCONT)  # sigtimedwait ends with EINTR
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_it_is_written_for_both_machines(machine: str, number: int) -> None:
    program = pause_program(machine)
    assert program[:4] == b"\x7fELF"
    assert struct.unpack_from("<HH", program, 16) == (2, number)
    entry, headers = struct.unpack_from("<QQ", program, 24)
    assert (entry, headers) == (0x400000 + 120, 64)
    assert len(program) == 120 + 128


def test_other_machines_are_named() -> None:
    with pytest.raises(Unimplemented, match="riscv64"):
        pause_program("riscv64")
