"""The role that tells an agent about registries: what it writes is what the agent reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tricorn.model.requests import RegistryAuth
from tricorn.registry.credentials import CredentialBook, CredentialSettings
from tricorn.registry.hostsdir import HostsDirectory
from tricorn.rules.hosts import HostPlan

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]

PROJECT = Path(__file__).parents[2]
SECRET = "role-s3cret"
REGISTRIES: list[dict[str, Any]] = [
    {
        "host": "docker.io",
        "server": "https://registry-1.docker.io",
        "capabilities": ["pull", "resolve"],
        "hosts": [
            {"url": "https://mirror.example:5000", "ca": ["mirror.crt"], "client": [["a.crt", "a.key"]],
             "dial_timeout": "3s", "capabilities": ["pull", "resolve", "referrers"]},
            {"url": "http://cache.lan/proxy", "override_path": True, "skip_verify": True,
             "header": {"x-key": [f"{SECRET}-header", "two"]}},
        ],
        "files": [
            {"name": "mirror.crt", "content": "a certificate"}, {"name": "a.crt", "content": "another"},
            {"name": "a.key", "content": f"{SECRET}-key"},
        ],
    },
    {"host": "registry.lan:5000", "server": "http://registry.lan:5000"},
    {"host": "gone.example", "state": "absent"},
]  # fmt: skip
CREDENTIALS = [
    {"host": "mirror.example:5000", "username": "nodes", "password": f"{SECRET}-password"},
    {"host": "registry.lan:5000", "identity_token": f"{SECRET}-token"},
    {"host": "helped.example", "helper": "test"},
]


def play(directory: Path, *arguments: str, **variables: Any) -> tuple[int, str]:
    """Run the role on this machine, with its files in `directory`; return the changes and the output."""
    book = directory / "play.yml"
    role = {
        "name": "Run the role",
        "ansible.builtin.import_role": {"name": "tricorn.containerd.registry_mirror"},
    }
    book.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [role]}]))
    known = {
        "ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3",
        "registry_mirror_config_dir": str(directory / "etc"), **variables,
    }  # fmt: skip
    (directory / "variables.json").write_text(json.dumps(known))
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")), "-i", "node,", str(book),
        "--extra-vars", f"@{directory}/variables.json", *arguments,
    ]  # fmt: skip
    environment = {
        **os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOME": str(directory / "home"), "ANSIBLE_REMOTE_TEMP": str(directory / "tmp"),
    }  # fmt: skip
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.rpartition("changed=")[2].split()[0]), done.stdout + done.stderr


def plan_of(hosts_dir: Path, registry: str) -> HostPlan:
    return trio.run(HostsDirectory(str(hosts_dir)).plan, registry)


def test_what_the_role_writes_is_what_the_agent_reads(tmp_path: Path) -> None:
    hosts_dir, config = tmp_path / "etc/hosts.d", tmp_path / "etc/docker/config.json"
    wanted = {"registry_mirror_registries": REGISTRIES, "registry_mirror_credentials": CREDENTIALS}
    changes, output = play(tmp_path, "--check", "--diff", registry_mirror_registries=REGISTRIES[1:2])
    assert changes > 0
    assert not (tmp_path / "etc").exists()
    (hosts_dir / "gone.example").mkdir(parents=True)

    changes, output = play(tmp_path, "-vvv", "--diff", **wanted)
    # two directories, three files in a loop, two hosts.toml, the credentials and their directory; one is gone
    assert changes == 8
    assert SECRET not in output

    mirror, cache, registry = plan_of(hosts_dir, "docker.io").hosts
    directory = f"{hosts_dir}/docker.io"
    assert [str(host) for host in (mirror, cache, registry)] == [
        "https://mirror.example:5000/v2", "http://cache.lan/proxy", "https://registry-1.docker.io/v2",
    ]  # fmt: skip
    assert mirror.capabilities == {"pull", "resolve", "referrers"}
    assert cache.capabilities == registry.capabilities == {"pull", "resolve"}
    assert (mirror.tls.ca, mirror.dial_timeout) == ((f"{directory}/mirror.crt",), 3.0)
    assert mirror.tls.client == ((f"{directory}/a.crt", f"{directory}/a.key"),)
    assert cache.headers == (("x-key", f"{SECRET}-header"), ("x-key", "two"))
    assert cache.tls.skip_verify
    assert str(plan_of(hosts_dir, "registry.lan:5000").hosts[0]) == "http://registry.lan:5000/v2"
    modes = {path.name: path.stat().st_mode & 0o777 for path in hosts_dir.glob("docker.io/*")}
    assert set(modes.values()) == {0o600}, modes

    book = CredentialBook(CredentialSettings(docker_config=str(config)))
    password = RegistryAuth("nodes", f"{SECRET}-password")
    assert trio.run(book.find, "mirror.example:5000") == password
    assert trio.run(book.find, "registry.lan:5000") == RegistryAuth(identity_token=f"{SECRET}-token")
    assert trio.run(book.sources, "helped.example") == [f"{config}: helper test"]

    assert play(tmp_path, "--check", "--diff", **wanted)[0] == 0
    assert sorted(path.name for path in hosts_dir.iterdir()) == ["docker.io", "registry.lan:5000"]
