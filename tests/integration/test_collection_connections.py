"""Playbooks inside containers, which the inventory plugin finds; lookup and progress, too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import frozen

from tricorn_testing.ansible_plays import COLLECTION, Ansible, Played, examples
from tricorn_testing.daemon import Daemon
from tricorn_testing.images import ImageLayout
from tricorn_testing.inhabited import USR, inhabited_images
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.integration]
USER = {"become": True, "become_method": f"{COLLECTION}.container_user", "become_user": "app"}
BINARY = bytes(range(256)) * 4096 * 24  # 24 MiB with every byte in it
PYTHON = {"ansible_python_interpreter": "/usr/bin/python3"}
LARGE = "wc -c; head -c 3000000 /dev/zero | tr '\\0' x"  # more than any buffer holds, both ways
Task = dict[str, Any]


@frozen
class Inside:
    """Runs plays in the containers of an agent: `plain` has a shell, `rich` this machine's Python, too."""

    ansible: Ansible
    agent: Daemon

    @property
    def inventory(self) -> Path:
        """A file for the inventory plugin."""
        path = self.ansible.directory / "inside.containers.yml"
        settings = {
            "plugin": f"{COLLECTION}.containers", "socket": self.agent.socket_path, "namespaces": ["inside"],
            "hostname": "tricorn_container", "compose": {"said": "tricorn_labels.says"},
            "keyed_groups": [{"key": "tricorn_labels.kind", "prefix": "kind"}],
        }  # fmt: skip
        path.write_text(yaml.safe_dump(settings))
        return path

    def play(self, inventory: Path, plays: dict[str, list[Task]], **variables: Any) -> Played:
        """Run tasks on hosts, failed or not; return the results of all, in order."""
        results, book = self.ansible.directory / "results", self.ansible.directory / "inside.yml"
        content, written = [], []
        for host, tasks in plays.items():
            named = [f"{host}_{number}" for number in range(len(tasks))]
            written.append({"hosts": host, "gather_facts": False, "tasks": [
                {"name": name, **task, "register": name, "ignore_errors": True, "ignore_unreachable": True}
                for name, task in zip(named, tasks, strict=True)
            ]})  # fmt: skip
            content += [f"hostvars['{host}'].{name}" for name in named]
        wanted = "{{ [" + ", ".join(content) + "] | to_json }}"
        keep = {
            "name": "Keep",
            "vars": PYTHON,
            "ansible.builtin.copy": {"content": wanted, "dest": str(results)},
        }
        written.append({"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [keep]})
        book.write_text(json.dumps(written))
        done = self.ansible.run(book, variables, "-i", str(inventory), "-vvv")
        assert results.exists(), done.stdout + done.stderr
        return Played(done.stdout + done.stderr, json.loads(results.read_text()))


@pytest.fixture(scope="module")
def populated(
    agent: Daemon, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    layout = ImageLayout(tmp_path_factory.mktemp("inside") / "layout")
    inhabited_images(layout)
    for name, mounted in (("plain", []), ("rich", [USR])):
        reference = registry.push(layout, name, f"inside/{name}:1")
        agent.put(f"/v1/inside/containers/{name}", {
            "image": reference, "plain_http": True, "mounts": mounted, "stop_timeout": 0.1,
            "labels": {"kind": name, "says": "{{ 6 * 7 }}"},
        })  # fmt: skip
    yield agent
    for name in ("plain", "rich"):
        agent.delete(f"/v1/inside/containers/{name}", force=True)


@pytest.fixture
def inside(populated: Daemon, tmp_path: Path) -> Inside:
    return Inside(Ansible(tmp_path), populated)


def test_commands_and_modules(inside: Inside) -> None:
    file = {"content": "{{ 6 * 7 }}", "dest": "/home/file", "mode": "0640"}
    script = inside.ansible.directory / "script.sh"
    script.write_text("#!/bin/sh\nid -u\necho run\n")
    played = inside.play(inside.inventory, {
        "plain": [
            {"ansible.builtin.raw": "wc -l </etc/passwd; echo é >&2; exit 3"},
            {"ansible.builtin.raw": "id -u", **USER},
            {"ansible.builtin.raw": "echo $((6 * 7)) '{{ said }}'", "args": {"executable": "/bin/ash"}},
            {"ansible.builtin.script": {"cmd": str(script)}, **USER},
        ],
        "rich": [
            {"ansible.builtin.copy": file, **USER},
            {"ansible.builtin.stat": {"path": "/home/file"}},
            {"ansible.builtin.command": {"argv": ["sh", "-c", LARGE], "stdin": "x" * 3_000_000}},
            {"ansible.builtin.debug": {"msg": "{{ groups.kind_rich + groups.status_running }}"}},
        ],
    }, **PYTHON)  # fmt: skip
    raw, other, ash, scripted, copied, seen, echoed, grouped = played.results
    assert (raw["rc"], raw["stdout"].strip(), raw["stderr"].strip()) == (3, "2", "é")
    assert other["stdout"].split() == ["1000"]
    assert ash["stdout"].strip() == "42 {{ 6 * 7 }}"
    assert scripted["stdout"].split() == ["1000", "run"]
    assert copied["changed"], copied
    assert (seen["stat"]["mode"], seen["stat"]["uid"], seen["stat"]["gid"]) == ("0640", 1000, 1001)
    assert (echoed["stdout"][:7], len(echoed["stdout"])) == ("3000001", 3_000_008)
    assert sorted(grouped["msg"]) == ["plain", "rich", "rich"]


def test_files_travel_whole_whatever_is_in_them(inside: Inside, tmp_path: Path) -> None:
    """Without pipelining, so that modules travel as files, too; as another user than the container's."""
    (tmp_path / "up").write_bytes(BINARY)
    (tmp_path / "empty").touch()
    down = tmp_path / "down"
    fetch = {"dest": f"{down}/", "flat": True}
    played = inside.play(inside.inventory, {
        "rich": [
            {"ansible.builtin.copy": {"src": str(tmp_path / "up"), "dest": "/tmp/up"}},
            {"ansible.builtin.copy": {"src": str(tmp_path / "empty"), "dest": "/tmp/empty"}},
            {"ansible.builtin.fetch": {"src": "/tmp/up", **fetch}},
            {"ansible.builtin.fetch": {"src": "/tmp/empty", **fetch}},
            {"ansible.builtin.fetch": {"src": "/tmp/none", **fetch}},
        ],
    }, **PYTHON, ansible_pipelining=False, ansible_tricorn_user="app")  # fmt: skip
    assert [result["changed"] for result in played.results] == [True, True, True, True, False]
    assert played.results[0]["uid"] == 1000
    assert played.results[4]["failed"]
    assert hashlib.sha256((down / "up").read_bytes()).digest() == hashlib.sha256(BINARY).digest()
    assert (down / "empty").read_bytes() == b""


MISSING = {
    "gone": ({}, "no container 'gone' in the namespace 'inside'"),
    "socket": ({"ansible_tricorn_socket": "/none.sock"}, "ansible_tricorn_socket names it"),
    "shell": ({"ansible_tricorn_container": "plain", "executable": "/bin/none"},
              "Cannot run /bin/none in the container 'plain'"),
    "password": ({"ansible_tricorn_container": "plain", "ansible_become": True, "ansible_become_method": "su",
                  "ansible_become_password": "x"}, "container_user needs none"),
    "user": ({"ansible_tricorn_container": "plain", "ansible_tricorn_user": "nobody-here"}, "nobody-here"),
}  # fmt: skip


def test_what_is_missing_is_named(inside: Inside, tmp_path: Path) -> None:
    common = {
        "ansible_connection": f"{COLLECTION}.container", "ansible_tricorn_namespace": "inside",
        "ansible_tricorn_socket": inside.agent.socket_path,
    }  # fmt: skip
    inventory = tmp_path / "missing.json"
    hosts = {name: {**common, **variables} for name, (variables, _) in MISSING.items()}
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    raw = {"ansible.builtin.raw": "true", "args": {"executable": "{{ executable | default('/bin/sh') }}"}}
    played = inside.play(inventory, {name: [raw] for name in MISSING})
    for result, (_, words) in zip(played.results, MISSING.values(), strict=True):
        assert result["unreachable"] is True
        assert words in result["msg"]


def test_examples_with_their_progress(inside: Inside, registry: Registry) -> None:
    """The examples of connection, become and lookup; the image that the lookup names is pulled in view."""
    agent, image = inside.agent, f"{registry.address}/inside/plain:1"
    agent.put("/v1/shop/containers/web", {"image": image, "plain_http": True, "stop_timeout": 0.1})
    tasks = [
        *examples("image_digest", "lookup"), *examples("container", "connection"),
        *examples("container_user", "become"),
        {"ansible.builtin.fail": {"msg": "no secrets"}, "ignore_errors": True, "when": lookup_fails()},
    ]  # fmt: skip
    defaults = {f"group/{COLLECTION}.node": {"socket": agent.socket_path, "namespace": "other"}}
    play = {"hosts": "node", "gather_facts": False, "tasks": tasks, "module_defaults": defaults}
    book = inside.ansible.directory / "examples.yml"
    book.write_text(json.dumps([play]))
    variables = {"image": image, "ansible_tricorn_socket": agent.socket_path}
    done = inside.ansible.run(
        book, variables, "--connection", "local", ANSIBLE_CALLBACKS_ENABLED=f"{COLLECTION}.progress",
        TRICORN_PROGRESS="plain", TRICORN_SOCKET=agent.socket_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(line.startswith("node  container cache: ") for line in done.stderr.splitlines()), done.stderr
    assert "correct-horse" not in done.stdout + done.stderr
    (cache,) = agent.get("/v1/other/containers")["items"]
    digest = agent.get("/v1/inside/containers/plain")["image_digest"]
    assert cache["image"] == f"{image.removesuffix(':1')}@{digest}"
    for path in ("other/containers/cache", "shop/containers/web"):
        agent.delete(f"/v1/{path}", force=True)


def lookup_fails() -> str:
    """Return a condition that fails for a registry that isn't there, with a password."""
    given = "plain_http=true, registry_username='me', registry_password='correct-horse'"
    return f"lookup('{COLLECTION}.image_digest', '127.0.0.1:1/no:1', {given}) is string"
