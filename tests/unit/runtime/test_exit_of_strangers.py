"""The exit code of a process that somebody else reaped, as newer kernels keep it in its pidfd."""

from __future__ import annotations

import os
import select
import subprocess
import sys

import pytest

from tricorn.runtime.orphan import exit_code_of

# Starts a grandchild of ours, tells its pid, waits for a word, ends and reaps it, and says so.
PARENT = """
import os, signal, sys
pid = os.fork()
if pid == 0:
    {child}
print(pid, flush=True)
sys.stdin.readline()
if {kill}:
    os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
print("reaped", flush=True)
"""


@pytest.mark.parametrize(
    ("child", "kill", "code"),
    [("signal.pause()", True, 137), ("os._exit(7)", False, 7), ("os._exit(0)", False, 0)],
)
def test_the_kernel_tells_the_code_after_the_reaping(child: str, kill: bool, code: int) -> None:
    script = PARENT.format(child=child, kill=kill)
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        pidfd = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.stdin.write("go\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == "reaped\n"
            select.select([pidfd], [], [], 5)
            found = exit_code_of(pidfd)
        finally:
            os.close(pidfd)
    if found is None and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 15):
        pytest.skip("this kernel keeps no exit codes of reaped processes")
    assert found == code
