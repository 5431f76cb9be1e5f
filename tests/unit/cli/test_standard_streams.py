"""Commands that are started without stdin, stdout or stderr, or for a locale of few characters."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

ITEM = {"name": "a\N{SNOWMAN}", "labels": {}}


def run(
    agent: Any, command: Sequence[str], arguments: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a shell's command line, with `tricorn` in its place."""
    variables = {"TRICORN_SOCKET": agent.path, **environment}
    script = f'exec "$@" {arguments}'
    return subprocess.run(
        ["sh", "-c", script, "sh", *command], env=variables, timeout=60, check=False, stdin=subprocess.DEVNULL,
        capture_output=True,
    )  # fmt: skip


def test_a_closed_stdout_is_an_error(agent: Any, command: list[str]) -> None:
    agent.listed("GET /v1/namespaces", ITEM)
    done = run(agent, command, "namespace ls >&-")
    assert done.returncode == 1
    assert done.stderr == b"tricorn: cannot go on: [Errno 9] Bad file descriptor\n"


def test_a_closed_stdin_is_at_its_end_and_no_socket(agent: Any, command: list[str]) -> None:
    agent.answer("POST /v1/default/archive", {"images": []})
    done = run(agent, command, "image import - <&-")
    assert b"Traceback" not in done.stderr
    assert [request.data for request in agent.requests if request.method == "POST"] == [b""]


def test_a_closed_stderr_is_silent(agent: Any, command: list[str]) -> None:
    agent.listed("GET /v1/namespaces", ITEM)
    assert run(agent, command, "namespace nonesuch 2>&-").returncode == 2
    assert run(agent, command, "namespace ls 2>&-").returncode == 0


@pytest.mark.parametrize("json", ["", "--json"])
def test_characters_that_the_locale_has_not_are_replaced(agent: Any, command: list[str], json: str) -> None:
    agent.listed("GET /v1/namespaces", ITEM)
    done = run(agent, command, f"{json} namespace ls", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert b"a?" in done.stdout
