from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tricorn.cli.complete import familiar
from tricorn.cli.completion import script
from tricorn.errors import Internal

Ask = Callable[..., list[str]]


@pytest.fixture
def ask(agent: Any, command: list[str]) -> Ask:
    """Complete a line as bash would ask; return the plain values."""

    def run(line: str, **env: str) -> list[str]:
        environment = {**os.environ, "_TRICORN_COMPLETE": "bash_complete", "TRICORN_LINE": line, **env}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stderr == ""
        return [line.removeprefix("plain,") for line in done.stdout.splitlines() if line]

    return run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(tricorn: Any, shell: str) -> None:
    outcome = tricorn("completion", shell)
    assert outcome.status == 0
    assert f"_TRICORN_COMPLETE={shell}_complete" in outcome.out
    assert outcome.out == script(shell) + "\n"


def test_commands_and_options(ask: Ask) -> None:
    assert ask("tricorn ex") == ["exec", "execs"]
    assert ask("tricorn image pu") == ["pull", "push"]
    assert ask("tricorn run --priv") == ["--privileged"]
    assert ask("tricorn run --pull ") == ["missing", "always", "never"]


def test_containers(agent: Any, ask: Ask) -> None:
    agent.listed("GET /v1/default/containers?all=true", {"id": "web-1"}, {"id": "web-2"}, {"id": "db"})
    agent.listed("GET /v1/build/containers?all=true", {"id": "job"})
    assert ask("tricorn rm we") == ["web-1", "web-2"]
    assert ask("tricorn exec ") == ["web-1", "web-2", "db"]
    assert ask("tricorn -n build logs ") == ["job"]
    assert ask("tricorn rm web-1 d") == ["db"]


def test_execs_of_the_container_named_before(agent: Any, ask: Ask) -> None:
    agent.listed("GET /v1/default/containers/web/execs", {"id": "build"}, {"id": "shell"})
    assert ask("tricorn execs rm web b") == ["build"]
    assert ask("tricorn attach --exec ") == []


def test_images(agent: Any, ask: Ask) -> None:
    names = ["docker.io/library/redis:7", "docker.io/library/redis:8", "docker.io/me/app:1", "ghcr.io/a/b:1"]
    agent.listed("GET /v1/default/images", *({"name": name} for name in names))
    assert ask("tricorn run re") == ["redis:7", "redis:8"]
    assert ask("tricorn image rm docker.io/l") == ["docker.io/library/redis:7", "docker.io/library/redis:8"]
    assert ask("tricorn image rm redis:") == ["7", "8"]
    assert ask("tricorn image rm redis:", TRICORN_BREAKS=" ") == ["redis:7", "redis:8"]
    assert ask("tricorn run m") == ["me/app:1"]
    assert ask("tricorn registry explain ") == ["docker.io", "ghcr.io"]


def test_the_rest(agent: Any, ask: Ask) -> None:
    agent.listed("GET /v1/namespaces", {"name": "build"})
    agent.listed("GET /v1/default/leases", {"id": "l1"})
    agent.listed("GET /v1/default/snapshots", {"key": "web"})
    agent.listed("GET /v1/default/operations", {"id": "op"})
    assert ask("tricorn namespace rm ") == ["build"]
    assert ask("tricorn lease rm ") == ["l1"]
    assert ask("tricorn snapshot rm ") == ["web"]
    assert ask("tricorn operation cancel ") == ["op"]


def test_failures_are_quiet(agent: Any, ask: Ask) -> None:
    agent.refuse("GET /v1/default/containers?all=true", Internal("no"))
    assert ask("tricorn rm ") == []
    assert ask("tricorn --socket /nope rm ") == []
    agent.answer("GET /v1/default/images", ["not what was agreed"])
    assert ask("tricorn run ") == []


def test_a_silent_agent_is_not_waited_for(agent: Any, ask: Ask) -> None:
    def hang(link: Any, http: Any, request: Any) -> None:
        link.recv(1)
        raise ConnectionError

    agent._reply = hang
    begin = time.monotonic()
    assert ask("tricorn rm ") == []
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("docker.io/library/a:1", "a:1"),
        ("docker.io/me/a:1", "me/a:1"),
        ("ghcr.io/library/a:1", "ghcr.io/library/a:1"),
    ],
)
def test_familiar(name: str, short: str) -> None:
    assert familiar(name) == short


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_in_a_real_bash(agent: Any, tmp_path: Path) -> None:
    agent.listed(
        "GET /v1/default/images",
        {"name": "docker.io/library/redis:7"},
        {"name": "docker.io/library/redis:8.1"},
    )
    program = tmp_path / "tricorn"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tricorn.cli "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(script("bash"))
    text = f"""
        PATH={tmp_path}:$PATH; source {tmp_path}/script
        COMP_LINE='tricorn image rm redis:8 more'; COMP_POINT=24
        COMP_WORDS=(tricorn image rm redis : 8 more); COMP_CWORD=5
        _tricorn_completion tricorn
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("8.1\n", "")
