"""From what Ansible knows of a host to a command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tricorn.fleet.places import place
from tricorn.fleet.relay import PROGRAM

SOCKET = "/run/tricorn/tricorn.sock"


def host(tmp_path: Path, **fields: Any) -> dict[str, Any]:
    ssh = {
        "host": "10.0.0.1", "port": None, "remote_user": "root", "private_key_file": None, "timeout": 10,
        "ssh_args": "-o ControlMaster=auto -o ControlPersist=60s", "ssh_common_args": "", "ssh_extra_args": "",
        "ssh_executable": "ssh", "control_path": str(tmp_path / "cp/0a1b2c"), "host_key_checking": True,
    }  # fmt: skip
    ssh |= fields.pop("ssh", {})
    made = {
        "name": "n1", "groups": ["nodes"], "connection": "ssh", "python": "/usr/bin/python3", "socket": "",
        "become": {}, "password": False, "ssh": ssh,
    }  # fmt: skip
    return made | fields


def test_ssh_runs_the_relay_on_the_node(tmp_path: Path) -> None:
    made = place(host(tmp_path), SOCKET)
    *ssh, double, address, relay = made.command
    assert (made.name, made.groups, made.address, made.trouble) == ("n1", ("nodes",), "10.0.0.1", None)
    assert (ssh[0], double, address) == ("ssh", "--", "10.0.0.1")
    assert "BatchMode=yes" in ssh
    assert shlex.split(relay) == ["/usr/bin/python3", "-I", "-S", "-c", PROGRAM, SOCKET]


def test_ssh_gets_what_ansible_would_give_it(tmp_path: Path) -> None:
    options = {
        "port": 2222, "private_key_file": "/keys/id", "ssh_common_args": "-o ProxyJump='a b'",
        "host_key_checking": False,
    }  # fmt: skip
    command = place(host(tmp_path, ssh=options), SOCKET).command
    for word in (
        'Port="2222"',
        'IdentityFile="/keys/id"',
        'User="root"',
        "ProxyJump=a b",
        "ConnectTimeout=10",
    ):
        assert word in command
    assert "StrictHostKeyChecking=no" in command


@pytest.mark.parametrize(
    ("directory", "arguments", "expected"),
    [
        ("cp", "-o ControlPersist=60s", 'ControlPath="{}/cp/0a1b2c"'),
        ("x" * 80, "-o ControlPersist=60s", "ControlMaster=no"),
        ("cp", "-C", None),
        ("cp", "-o ControlPersist=60s -o ControlPath=/mine", None),
    ],
    ids=["shared", "too-long", "not-wanted", "own"],
)
def test_connections_are_kept_where_ansible_keeps_them(
    tmp_path: Path, directory: str, arguments: str, expected: str | None
) -> None:
    options = {"ssh_args": arguments, "control_path": str(tmp_path / directory / "0a1b2c")}
    words = place(host(tmp_path, ssh=options), SOCKET).command[:-3]
    last = words[-1] if words[-1].startswith(("ControlPath", "ControlMaster=no")) else None
    if expected is None:
        assert last in (None, "ControlPath=/mine")
    else:
        assert last == expected.format(tmp_path)


def test_who_becomes_root_asks_sudo_without_a_terminal(tmp_path: Path) -> None:
    relay = place(host(tmp_path, become={"become": True}), SOCKET).command[-1]
    assert relay.startswith("sudo -n -u root -- /usr/bin/python3 -I")


def test_a_host_may_name_its_own_socket_and_be_this_machine(tmp_path: Path) -> None:
    made = place(host(tmp_path, connection="local", socket="/tmp/own.sock"), SOCKET)
    assert made.command[0] == "/usr/bin/python3"
    assert made.command[-1] == made.socket == "/tmp/own.sock"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"connection": "winrm"}, "connection winrm"),
        ({"password": True}, "a password"),
        ({"become": {"become": "yes", "become_method": "su"}}, "by su"),
        ({"error": "'ip' is undefined"}, "'ip' is undefined"),
    ],
    ids=["connection", "password", "su", "template"],
)
def test_what_leads_nowhere_is_told(tmp_path: Path, fields: dict[str, Any], text: str) -> None:
    made = place(host(tmp_path, **fields), SOCKET)
    assert made.command == ()
    assert text in str(made.trouble)
