"""Every option of `run` and `create` arrives in the request, and the agent's own parser takes the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from tricorn.cli import desired
from tricorn.cli.container_options import container_options
from tricorn.errors import InvalidArgument
from tricorn.model.requests import ContainerDesired
from tricorn.structuring import structure


def parsed(*arguments: str, environ: dict[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {}

    @click.command(context_settings={"allow_interspersed_args": False})
    @container_options
    def collect(**options: Any) -> None:
        found.update(options)

    collect.main(list(arguments), standalone_mode=False)
    body = desired.container(found["image"], found["command"], found, environ or {})
    structure(json.loads(json.dumps(body)), ContainerDesired)
    return body


def test_the_least() -> None:
    assert parsed("alpine") == {"image": "alpine", "state": "present", "pull": "missing"}


def test_options_after_the_image_are_the_programs() -> None:
    assert parsed("--read-only", "alpine", "ls", "-l", "--name", "x") == {
        "image": "alpine",
        "state": "present",
        "pull": "missing",
        "read_only": True,
        "args": ["ls", "-l", "--name", "x"],
    }


@pytest.mark.parametrize(
    ("arguments", "field", "expected"),
    [
        (["-it"], "terminal", True),
        (["-it"], "stdin", True),
        (["-e", "A=1", "-e", "B=x=y"], "env", {"A": "1", "B": "x=y"}),
        (["-e", "HOME"], "env", {"HOME": "/home/me"}),
        (["-w", "/tmp"], "cwd", "/tmp"),
        (["-u", "1000:100"], "user", "1000:100"),
        (["--group-add", "audio", "--group-add", "29"], "groups", ["audio", "29"]),
        (["--hostname", "h"], "hostname", "h"),
        (["--cap-add", "NET_ADMIN"], "cap_add", ["NET_ADMIN"]),
        (["--cap-drop", "ALL"], "cap_drop", ["ALL"]),
        (["--privileged"], "privileged", True),
        (["--device", "/dev/fuse"], "devices", ["/dev/fuse"]),
        (["--net", "host"], "network", "host"),
        (["--network", "none"], "network", "private"),
        (["--net", "/run/netns/a"], "network", "/run/netns/a"),
        (["--pid", "host", "--userns", "private"], "namespaces", {"pid": "host", "user": "private"}),
        (["-l", "a=b"], "labels", {"a": "b"}),
        (["--annotation", "a=b"], "annotations", {"a": "b"}),
        (["--runtime", "crun"], "runtime", "crun"),
        (["--snapshotter", "native"], "snapshotter", "native"),
        (["--stop-signal", "SIGINT"], "stop_signal", "SIGINT"),
        (["--stop-timeout", "0"], "stop_timeout", 0.0),
        (["--restart", "on-failure:3"], "restart", "on-failure:3"),
        (["--health-cmd", "true"], "health", {"exec": ["/bin/sh", "-c", "true"]}),
        (
            ["--health-tcp", "80", "--health-interval", "1m", "--health-on-failure", "kill"],
            "health",
            {"tcp": 80, "interval": 60.0, "on_unhealthy": "kill"},
        ),
        (["--sysctl", "net.ipv4.ip_forward=1"], "sysctls", {"net.ipv4.ip_forward": "1"}),
        (
            ["--ulimit", "nofile=1024:4096"],
            "rlimits",
            [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}],
        ),
        (
            ["--ulimit", "core=unlimited"],
            "rlimits",
            [{"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1}],
        ),
        (["--security", "seccomp=unconfined"], "seccomp", "unconfined"),
        (["--security-opt", "no-new-privileges=false"], "no_new_privileges", False),
        (["--security", "no-new-privileges"], "no_new_privileges", True),
        (["--pull", "always"], "pull", "always"),
        (["--plain-http"], "plain_http", True),
        (["--platform", "linux/arm64"], "platform", "linux/arm64"),
        (
            ["-m", "512m", "--cpus", "1.5", "--pids-limit", "64"],
            "resources",
            {"memory": 512 * 1024**2, "cpus": 1.5, "pids": 64},
        ),
        (
            ["--memory-swap", "-1", "--cpuset-cpus", "0-1"],
            "resources",
            {"memory_swap": -1, "cpuset_cpus": "0-1"},
        ),
    ],
)
def test_options(arguments: list[str], field: str, expected: Any) -> None:
    assert parsed(*arguments, "alpine", environ={"HOME": "/home/me"})[field] == expected


def test_an_unset_variable_of_ones_own_is_left_out() -> None:
    assert "env" not in parsed("-e", "NOT_THERE", "alpine")


def test_env_file(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\n\nA=1\n  B=two words  \nMINE\nC=\n")
    found = parsed("--env-file", str(file), "-e", "A=over", "alpine", environ={"MINE": "yes"})
    assert found["env"] == {"A": "over", "B": "two words  ", "MINE": "yes", "C": ""}


def test_a_missing_env_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parsed("--env-file", str(tmp_path / "none"), "alpine")
    assert caught.value.field == "--env-file"


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        (None, ["a"], {"args": ["a"]}),
        ("/bin/sh", [], {"entrypoint": ["/bin/sh"], "args": []}),
        ("/bin/sh", ["-c", "x"], {"entrypoint": ["/bin/sh"], "args": ["-c", "x"]}),
        ("", ["a"], {"entrypoint": [], "args": ["a"]}),
    ],
)
def test_entrypoint(entrypoint: str | None, command: list[str], expected: dict[str, Any]) -> None:
    assert desired.program(entrypoint, command) == expected


def test_mounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = parsed(
        "--mount", "type=bind,src=/a,dst=/b,options=ro:nosuid", "--mount", "type=proc,source=proc,target=/p,ro",
        "-v", "/c:/d", "-v", "./e:/f:ro", "--tmpfs", "/g:size=1m,exec", "alpine",
    )  # fmt: skip
    assert found["mounts"] == [
        {"type": "bind", "source": "/a", "target": "/b", "options": ["rbind", "ro", "nosuid"]},
        {"type": "proc", "source": "proc", "target": "/p", "options": ["ro"]},
        {"type": "bind", "source": "/c", "target": "/d", "options": ["rbind"]},
        {"type": "bind", "source": str(tmp_path / "e"), "target": "/f", "options": ["rbind", "ro"]},
        {
            "type": "tmpfs",
            "source": "tmpfs",
            "target": "/g",
            "options": ["noexec", "nosuid", "nodev", "size=1m", "exec"],
        },
    ]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["-v", "/a"], "--volume"),
        (["-v", "named:/a"], "--volume"),
        (["--mount", "src=/a"], "--mount"),
        (["--mount", "src=/a,dst=/b,what=no"], "--mount"),
        (["--mount", "src=data,dst=/b"], "--mount"),
        (["-m", "lots"], "--memory"),
        (["--ulimit", "nofile"], "--ulimit"),
        (["-l", "nothing"], "--label"),
        (["-e", "=x"], "--env"),
        (["--security", "apparmor=x"], "--security"),
        (["--security", "seccomp="], "--security"),
    ],
)
def test_mistakes_name_their_option(arguments: list[str], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parsed(*arguments, "alpine")
    assert caught.value.field == field
