"""Credential helpers: the protocol, and what one may not do to the agent."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition
from tricorn.model.requests import RegistryAuth
from tricorn.registry.credential_helper import Helpers

SECRET = "helper-s3cret"
GOOD = f'read server; echo "{{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"$server\\",\\"Secret\\":\\"{SECRET}\\"}}"'
Writer = Callable[[str], str]


@pytest.fixture
def program(tmp_path: Path) -> Writer:
    """Write an executable `docker-credential-test` with a shell script; return its path."""

    def write(script: str) -> str:
        path = tmp_path / "docker-credential-test"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


async def ask(path: str, name: str = "test", timeout: float = 20.0) -> RegistryAuth | None:
    environment = {"PATH": os.environ["PATH"], "HOME": "/root", "LEAKY": "environment"}
    with trio.fail_after(30):
        return await Helpers((path,), environment, timeout).get(name, "reg.example:5000")


async def test_a_helper_is_told_the_server_and_gives_both(program: Writer) -> None:
    path = program(GOOD)
    assert await ask(path) == RegistryAuth("reg.example:5000", SECRET)
    assert await ask(path, path) == RegistryAuth("reg.example:5000", SECRET)


async def test_a_token_user_means_an_identity_token(program: Writer) -> None:
    path = program("""echo '{"Username": "<token>", "Secret": "t"}'""")
    assert await ask(path) == RegistryAuth(identity_token="t")


async def test_nothing_found_is_no_failure(program: Writer) -> None:
    assert await ask(program("echo credentials not found in native keychain; exit 1")) is None


async def test_only_what_is_allowed_runs(program: Writer) -> None:
    path = program(GOOD)
    for name in ("other", "/usr/bin/docker-credential-test", "../docker-credential-test"):
        with pytest.raises(FailedPrecondition) as caught:
            await ask(path, name)
        assert "credential_helpers" in caught.value.hint


async def test_the_environment_is_not_passed_on(program: Writer) -> None:
    path = program("""printf '{"Username": "%s", "Secret": "%s"}' "$LEAKY" "$HOME$*" """)
    assert await ask(path) == RegistryAuth("", "/rootget")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (f"echo {SECRET}; exit 3", "status 3"),
        (f"echo {SECRET}", "answer"),
        ('echo "[]"', "answer"),
        ("""echo '{"Username": 1, "Secret": "x"}'""", "answer"),
        ("""echo '{"Username": "x"}'""", "answer"),
        (f"yes {SECRET}", f"{limits.REGISTRY_HELPER_OUTPUT} bytes"),
        ("exec 1>&- ; exit 1", "status 1"),
    ],
)
async def test_failures_are_told_without_what_it_wrote(program: Writer, script: str, why: str) -> None:
    with pytest.raises(FailedPrecondition, match="docker-credential-test") as caught:
        await ask(program(script))
    assert why in caught.value.why
    assert SECRET not in caught.value.one_line()


async def test_a_helper_that_hangs_ends_with_all_it_started(program: Writer, tmp_path: Path) -> None:
    path = program(f"sleep 1000 & echo $! > {tmp_path}/pid; echo $$ >> {tmp_path}/pid; wait")
    with pytest.raises(FailedPrecondition, match="no answer in"):
        await ask(path, timeout=0.5)
    await gone(tmp_path / "pid")


async def test_what_a_helper_leaves_behind_ends_with_it(program: Writer, tmp_path: Path) -> None:
    path = program(f"sleep 1000 >/dev/null & echo $! > {tmp_path}/pid\n{GOOD}")
    assert await ask(path) is not None
    await gone(tmp_path / "pid")


async def gone(file: Path) -> None:
    """Wait until the processes whose numbers are in `file` have ended."""
    for pid in await trio.to_thread.run_sync(lambda: file.read_text().split()):
        await until(partial(ended, int(pid)))


def ended(pid: int) -> bool:
    """Whether a process is gone, or dead and waiting for somebody to ask how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - another process makes it true
            await trio.sleep(0.01)


async def test_cancelling_ends_it(program: Writer, tmp_path: Path) -> None:
    path = program(f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 1000")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, path)
        await until((tmp_path / "pid").exists)
        nursery.cancel_scope.cancel()
    await gone(tmp_path / "pid")


@pytest.mark.parametrize("mode", [0o644, 0o777, 0o775])
async def test_programs_that_others_can_change_are_refused(program: Writer, mode: int) -> None:
    path = program(GOOD)
    os.chmod(path, mode)
    with pytest.raises(FailedPrecondition) as caught:
        await ask(path)
    assert "chmod 755" in caught.value.hint


async def test_a_program_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="No such file"):
        await ask(str(tmp_path / "docker-credential-test"))
