"""Programs that are started from sealed copies."""

# ruff: noqa: ASYNC230 - tests look at files directly

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn.runtime import process
from tricorn.runtime.sealed import SealedPrograms

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def sealed() -> Iterator[SealedPrograms]:
    programs = SealedPrograms()
    yield programs
    programs.close()


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program of the host that knows --version."""
    return str(shutil.copy(shutil.which("cat") or "/bin/cat", tmp_path / "program"))


async def run(path: str, *arguments: str) -> process.Completed:
    return await process.run([path, *arguments], ENVIRONMENT, seconds=30)


async def test_it_runs_from_its_copy(sealed: SealedPrograms, program: str) -> None:
    await sealed.admit(program, ENVIRONMENT)
    path = sealed.path(program)
    assert path.startswith(f"/proc/{os.getpid()}/fd/")
    assert (await run(path, "/proc/self/cmdline")).stdout.split(b"\0")[0] == path.encode()


async def test_nobody_can_change_the_copy(sealed: SealedPrograms, program: str) -> None:
    await sealed.admit(program, ENVIRONMENT)
    with pytest.raises(PermissionError):
        os.truncate(sealed.path(program), 0)
    with open(sealed.path(program), "r+b", buffering=0) as file, pytest.raises(PermissionError):
        file.write(b"x")


async def test_an_upgrade_is_what_runs_next(sealed: SealedPrograms, program: str) -> None:
    await sealed.admit(program, ENVIRONMENT)
    before = sealed.path(program)
    shutil.copy(shutil.which("true") or "/bin/true", program + ".new")
    os.rename(program + ".new", program)
    assert (await run(sealed.path(program), "/proc/self/cmdline")).stdout == b""
    assert (await run(before, "--version")).code == 0  # for those who were about to start it
    assert sealed.path(program) == sealed.path(program)


async def test_what_is_gone_is_not_run(sealed: SealedPrograms, program: str) -> None:
    await sealed.admit(program, ENVIRONMENT)
    os.unlink(program)
    assert sealed.path(program) == program


@pytest.mark.parametrize("content", [b"#!/bin/sh\nexit 0\n", b"\x7fELF, or so it says"])
async def test_what_does_not_run_from_memory_runs_from_its_file(
    sealed: SealedPrograms, tmp_path: Path, content: bytes
) -> None:
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    await sealed.admit(str(program), ENVIRONMENT)
    assert sealed.path(str(program)) == str(program)


async def test_nothing_is_left(program: str) -> None:
    programs = SealedPrograms()
    before = len(os.listdir("/proc/self/fd"))
    await programs.admit(program, ENVIRONMENT)
    for _ in range(3):
        os.utime(program)
        programs.path(program)
    programs.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert programs.path(program) == program
