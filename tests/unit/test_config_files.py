"""Files of the configuration as desired states: whole or not at all, and never what the agent wouldn't take."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tricorn.agent_command import cli
from tricorn.config import load
from tricorn.config_files import put
from tricorn.directories import holder, root_lock
from tricorn.errors import InvalidArgument


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "config.toml").write_text(f'root = "{tmp_path}/root"\nlog_level = "info"\n')
    (tmp_path / "root").mkdir()
    return str(tmp_path / "config.toml")


def files(path: str) -> list[str]:
    top = Path(path).parent
    return sorted(str(each.relative_to(top)) for each in top.rglob("*") if each.is_file())


def test_settings_come_and_go(path: str) -> None:
    settings = {"log_level": "debug", "logs": {"files": 7}, "access": [{"role": "read", "users": ["é"]}]}
    planned = put(path, "50-site", {"settings": settings}, plan=True)
    assert files(path) == ["config.toml"]
    assert put(path, "50-site", {"settings": settings}) == planned
    assert (planned["changed"], planned["before"], planned["after"]) == (True, {}, settings)
    assert (planned["reload"], planned["restart"]) == (["log_level", "access"], ["logs"])
    assert files(path) == ["conf.d/50-site.toml", "config.toml"]
    assert load(path).logs.files == 7

    again = put(path, "50-site", {"settings": settings})
    assert (again["changed"], again["reload"], again["restart"]) == (False, [], [])
    less = put(path, "50-site", {"settings": {"logs": {"files": 7}}})
    assert (less["changed"], less["restart"]) == (True, [])
    assert less["before"] == settings
    gone = put(path, "50-site", {"state": "absent"})
    assert (gone["changed"], gone["after"], gone["restart"]) == (True, {}, ["logs"])
    assert not put(path, "50-site", {"state": "absent"})["changed"]
    assert files(path) == ["config.toml"]


def test_later_names_win(path: str) -> None:
    put(path, "20-late", {"settings": {"logs": {"files": 7}}})
    early = put(path, "10-early", {"settings": {"logs": {"files": 2, "size": 100000}}})
    assert early["restart"] == ["logs"]  # the size is new
    assert load(path).logs.files == 7


@pytest.mark.parametrize(
    ("name", "document", "field"),
    [
        ("a", {"settings": {"log_levle": "debug"}}, "log_levle"),
        ("a", {"settings": {"logs": {"files": 0}}}, "logs.files"),
        ("a", {"settings": {"root": "relative"}}, "root"),
        ("a", {"sets": {}}, "sets"),
        ("../a", {"settings": {}}, None),
        ("a", {"settings": {}, "secrets": {"../b": "x"}}, None),
    ],
)
def test_what_the_agent_would_not_take_is_not_written(
    path: str, name: str, document: Any, field: str | None
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        put(path, name, document)
    assert caught.value.field == field
    assert files(path) == ["config.toml"]


def test_secrets_are_files_that_only_root_reads(path: str) -> None:
    place = Path(path).parent / "secrets" / "registry"
    credentials = [{"host": "r.example", "username": "me", "password_file": str(place)}]
    wanted = {"settings": {"registry": {"credentials": credentials}}, "secrets": {"registry": "hush"}}
    made = put(path, "login", wanted)
    assert (made["changed"], made["secrets"], made["reload"]) == (True, ["registry"], ["secrets"])
    assert "hush" not in json.dumps(made)
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("hush", 0o600)
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert not put(path, "login", wanted)["changed"]
    assert put(path, "login", {**wanted, "secrets": {"registry": "new"}})["secrets"] == ["registry"]
    assert put(path, "login", {"state": "absent", "secrets": {"registry": None}})["changed"]
    assert files(path) == ["config.toml"]


def test_a_broken_file_can_be_mended(path: str) -> None:
    put(path, "a", {"settings": {}})
    (Path(path).parent / "conf.d/a.toml").write_text("no_such_key = 1\n")
    mended = put(path, "a", {"settings": {"logs": {"files": 7}}})
    assert "logs" in mended["restart"]
    assert load(path).logs.files == 7


def test_the_holder_of_a_root_directory_is_told(tmp_path: Path) -> None:
    assert holder(str(tmp_path)) is None
    with root_lock(str(tmp_path)):
        assert holder(str(tmp_path)) == os.getpid()
    assert holder(str(tmp_path)) is None  # its pid is still there to read


def test_the_command_has_a_running_agent_read_it(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *given: sent.append(given))
    command = ["--config", path, "config", "put", "a"]

    def run(document: Any, *more: str) -> dict[str, Any]:
        done = CliRunner().invoke(cli, [*command, *more], input=json.dumps(document))
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.output)
        return found

    descriptor = os.open(Path(path).parent / "root/lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, b"77\n")
        document = {"settings": {"log_level": "debug"}}
        assert run(document, "--reload", "--plan")["changed"]
        assert sent == []
        assert run(document, "--reload")["reload"] == ["log_level"]
        assert sent == [(77, signal.SIGHUP)]
        assert not run(document, "--reload")["changed"]
        assert len(sent) == 1
    finally:
        os.close(descriptor)
    done = CliRunner().invoke(cli, command, input="no json")
    assert isinstance(done.exception, InvalidArgument)
