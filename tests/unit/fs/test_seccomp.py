"""The extractor's system call filter: threads and files yes, everything else no."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tricorn.fs import seccomp

PROGRAM = """
import ctypes, errno, os, sys, threading
from tricorn.fs import confine, seccomp
confine._prctl(38, 1)
seccomp.install()
def refused(work):
    try:
        work()
    except OSError as error:
        return error.errno == errno.ENOSYS
    return False
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    ctypes.set_errno(0)
    assert getattr(libc, name)(*arguments) == -1, name
    assert ctypes.get_errno() == errno.ENOSYS, (name, ctypes.get_errno())
call("mount", b"none", b"/tmp", b"tmpfs", 0, None)
call("umount2", b"/nonexistent", 0)
call("chroot", b"/")
call("socket", 1, 1, 0)
call("execv", b"/bin/true", None)
call("ptrace", 0, 0, 0, 0)
call("open_by_handle_at", 0, None, 0)
call("unshare", 0x10000000)
call("setns", 0, 0)
call("kill", os.getpid(), 0)
assert refused(os.fork)
thread = threading.Thread(target=lambda: print("threads run", flush=True))
thread.start(); thread.join()
fd = os.open("/", os.O_RDONLY)
os.listdir(fd)
print("done", flush=True)
"""


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_program_for_each_machine(machine):
    code = seccomp.program(machine)
    assert code is not None
    assert len(code) % 8 == 0
    # Every jump lands inside the program, and each allowed call's on the last instruction.
    instructions = [seccomp._INSTRUCTION.unpack(code[at : at + 8]) for at in range(0, len(code), 8)]
    assert instructions[-1] == (6, 0, 0, 0x7FFF0000)
    for index, (kind, true, _, _) in enumerate(instructions[4:-5], 4):
        assert kind == 0x15
        assert index + 1 + true == len(instructions) - 1


def test_an_unknown_machine_has_none():
    assert seccomp.program("sparc64") is None


def test_the_filter_in_a_process():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.stdout.split("\n")[:2] == ["threads run", "done"], result.stderr
    assert result.returncode == 0


NARROW = """
import errno, os, threading
from tricorn.fs import confine, seccomp
confine._prctl(38, 1)
reading, writing = os.pipe()
seccomp.install(seccomp.COMPUTE)
try:
    os.open("/", os.O_RDONLY)
except OSError as error:
    assert error.errno == errno.ENOSYS
    thread = threading.Thread(target=lambda: os.write(writing, b"x"))
    thread.start(); thread.join()
    os.write(1, b"done" + os.read(reading, 1))
os._exit(0)
"""


def test_the_filter_of_what_only_computes():
    result = subprocess.run(
        [sys.executable, "-c", NARROW], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.stdout == "donex", result.stderr
