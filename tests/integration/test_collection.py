"""The Ansible collection against a running agent: each module straight over the socket, by the relay, and as
a module on the node; then the role, from a bare directory to nothing left.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tricorn_testing.agentclient import AgentClient
from tricorn_testing.ansible_plays import PROJECT, WAYS, Ansible, task
from tricorn_testing.daemon import Daemon
from tricorn_testing.images import ImageLayout, busybox_image
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import Registry
from tricorn_testing.releases import Release

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def image(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    layout = ImageLayout(tmp_path_factory.mktemp("collection") / "layout")
    busybox_image(layout, "it", Cmd=["sleep", "3600"])
    return registry.push(layout, "it", "collection/busybox:1")


@pytest.mark.parametrize("way", WAYS)
def test_a_container_from_image_to_removal(agent: Daemon, ansible: Ansible, image: str, way: str) -> None:
    pull = task("image", name=image, plain_http=True, namespace=way)
    web = {"name": "web", "image": image, "namespace": way, "plain_http": True, "stop_timeout": 1}
    limits = {"memory": "64m", "pids": 50}
    played = ansible.play(
        agent.socket_path,
        pull,
        pull,
        task("container", **web, resources=limits),
        task("container", **web, resources=limits),
        task("container", **web),
        task("container_exec", container="web", namespace=way, argv=["sh", "-c", "echo $A; cat; exit 3"],
             env={"A": "é"}, stdin="given", fail_on_rc=False),
        task("container", name="web", namespace=way, state="restarted", stop_timeout=1),
        task("container", name="web", namespace=way, state="stopped", stop_timeout=1),
        task("container", name="web", namespace=way, state="stopped"),
        task("container_info", name=["web", "none"], namespace=way),
        task("image_info", namespace=way, filters=[f"name=={image}"]),
        task("container", name="web", namespace=way, state="absent"),
        task("container", name="web", namespace=way, state="absent"),
        task("image", name=image, namespace=way, state="absent"),
        task("image", name=image, namespace=way, state="absent"),
        way=way,
    )  # fmt: skip
    assert not [result["msg"] for result in played.results if result["failed"]]
    assert played.changed == [
        True, False,  # image
        True, False, True,  # container: an option that was removed is a change
        True,  # exec
        True, True, False,  # restarted, stopped
        False, False,  # info
        True, False, True, False,  # absent
    ]  # fmt: skip
    verbs = [[action["verb"] for action in result.get("actions", [])] for result in played.results]
    assert verbs[2] == ["create", "start"]
    assert verbs[4] == ["update"]
    assert verbs[6] == ["stop", "start"]
    executed = played.results[5]
    assert (executed["rc"], executed["stdout"], executed["stdout_lines"]) == (3, "é\ngiven", ["é", "given"])
    assert played.results[2]["container"]["resources"]["memory"] == 64 * 2**20
    found = played.results[9]
    assert found["exists"] is False
    assert [container["id"] for container in found["containers"]] == ["web"]
    assert found["containers"][0]["task"]["status"] == "stopped"
    assert [one["name"] for one in played.results[10]["images"]] == [image]
    assert agent.get(f"/v1/{way}/containers")["items"] == []


@pytest.mark.parametrize("way", WAYS)
def test_check_mode_tells_and_does_nothing(agent: Daemon, ansible: Ansible, image: str, way: str) -> None:
    namespace = f"check-{way}"
    agent.put(f"/v1/{namespace}/images", {"reference": image, "plain_http": True})
    web = {"name": "web", "image": image, "namespace": namespace}
    played = ansible.play(
        agent.socket_path,
        task("image", name=image, namespace=namespace, state="absent"),
        task("container", **web),
        task("container_exec", container="web", namespace=namespace, argv=["true"]),
        way=way,
        arguments=["--check", "--diff"],
    )
    assert [result["failed"] for result in played.results] == [False] * 3
    assert played.changed == [True, True, False]
    assert played.results[2]["skipped"] is True
    assert [action["verb"] for action in played.results[1]["actions"]] == ["create", "start"]
    assert played.results[0]["diff"]["before"]["name"] == image
    assert played.results[0]["diff"]["after"] == {}
    assert "+++ after: container web" in played.output
    assert agent.get(f"/v1/{namespace}/containers")["items"] == []
    assert len(agent.get(f"/v1/{namespace}/images")["items"]) == 1


def test_images_in_motion(
    agent: Daemon, ansible: Ansible, image: str, registry: Registry, tmp_path: Path
) -> None:
    """Each task twice, then what undoes it, then once more: changed, not changed, changed."""
    space = {"namespace": "motion"}
    pull = task("image", name=image, plain_http=True, state="latest", **space)
    names = [f"{registry.address}/motion/copy:{tag}" for tag in "ab"]
    tag = task("image_tag", name=image, tags=names, **space)
    untag = task("image", name=names[0], state="absent", **space)
    push = task("image_push", name=image, reference=names[1], plain_http=True, **space)
    archive = str(tmp_path / "image.tar")
    export = task("image_export", names=[image], dest=archive, **space)
    drop = {"ansible.builtin.file": {"path": archive, "state": "absent"}}
    load = task("image_import", src=archive, namespace="imported")
    forget = task("image", name=image, state="absent", namespace="imported")
    check = {"keywords": {"check_mode": True, "diff": True}}
    steps = [
        pull, pull, tag, tag, untag, tag, push, push, export, export, drop, export, load, load, forget, load,
        task("image", name=image, plain_http=True, platforms=["linux/riscv64"], namespace="nowhere", **check),
        task("image_tag", name=image, tags=["one.more/name:1"], **space, **check),
        task("image_push", name=image, reference=f"{names[1]}x", plain_http=True, **space, **check),
        task("image_export", names=[image], dest=f"{archive}.new", **space, **check),
        task("image_import", src=archive, namespace="nowhere", **check),
        task("image", name=image, plain_http=True, verify=True, **space),
        task("image_tag", name=names[0], tags=[image], namespace="none-of-it"),
    ]  # fmt: skip
    played = ansible.play(agent.socket_path, *steps, way="relay")
    assert [result["msg"] for result in played.results[:21] if result["failed"]] == []
    assert played.changed[:21] == [
        True, False,  # image
        True, False, True, True,  # image_tag, around a name that goes
        True, False,  # image_push
        True, False, True, True,  # image_export, around a file that goes
        True, False, True, True,  # image_import, around an image that goes
        True, True, True, True, True,  # in check mode
    ]  # fmt: skip
    digest = played.results[0]["image"]["digest"]
    assert played.results[3]["names"] == dict.fromkeys(names, digest)
    assert [action["object"] for action in played.results[5]["actions"]] == [f"image/{names[0]}"]
    assert played.results[7]["image"] == {"reference": names[1], "digest": digest}
    assert played.results[9]["archive"]["size"] == os.stat(archive).st_size
    assert played.results[13]["images"] == {image: digest}
    assert played.results[20]["diff"]["after"] == {"images": {image: digest}}
    unverified, missing = played.results[21:]
    assert "no rule of the node's image policy" in unverified["msg"]
    assert missing["error"]["code"] == "NotFound"
    assert "+++ after: archive" in played.output
    assert not Path(f"{archive}.new").exists()
    assert agent.get("/v1/nowhere/images")["items"] == []


def test_what_keeps_content(agent: Daemon, ansible: Ansible, image: str) -> None:
    space = {"namespace": "keeping"}
    agent.put("/v1/keeping/images", {"reference": image, "plain_http": True})
    layer = agent.get("/v1/keeping/content")["items"][0]["digest"]
    named = task("namespace", name="keeping", labels={"team": "{{ 'we' + 'b' }}"})
    held = [{"type": "images", "id": image}]
    lease = task("lease", name="keep", expires_in=0, resources=held, labels={"for": "tests"}, **space)
    steps = [
        named, named, lease, lease,
        task("lease", name="keep", renew=True, expires_in=3600, **space),
        task("lease_info", name=["keep", "none"], **space),
        task("lease_info", filters=["labels.for==tests"], **space),
        task("namespace_info", filters=["labels.team==web"]),
        task("content_info", digest=[layer], **space),
        task("content_info", filters=["size==1"], **space),
        task("snapshot_info", snapshotter="overlayfs", **space),
        task("image", name=image, state="absent", **space),
        task("lease", name="keep", state="absent", **space),
        task("lease", name="keep", state="absent", **space),
        task("gc", keywords={"check_mode": True, "diff": True}),
        task("gc"),
        task("gc"),
    ]  # fmt: skip
    played = ansible.play(agent.socket_path, *steps, way="relay")
    assert not [result["msg"] for result in played.results if result["failed"]]
    assert played.changed[:5] == [True, False, True, False, True]
    assert played.results[1]["namespace"]["labels"] == {"team": "web"}
    renewed, found, filtered = played.results[4:7]
    assert "containerd.io/gc.expire" in renewed["lease"]["labels"]
    assert (found["exists"], filtered["exists"]) == (False, True)
    assert found["leases"][0]["resources"] == filtered["leases"][0]["resources"] == held
    assert [each["name"] for each in played.results[7]["namespaces"]] == ["keeping"]
    assert played.results[8]["content"][0]["digest"] == layer
    assert (played.results[9]["exists"], played.results[9]["content"]) == (False, [])
    assert {each["snapshotter"] for each in played.results[10]["snapshots"]} == {"overlayfs"}
    assert played.changed[11:14] == [True, True, False]
    for result in played.results[14:]:
        assert result["changed"] is bool(result["removed"])
    assert played.changed[16] is False

    empty = task("namespace", name="keeping", state="absent")
    as_modules = ansible.play(agent.socket_path, empty, empty, task("gc"), way="module")
    assert as_modules.changed == [True, False, False]


def test_content_is_labelled_kept_and_removed(agent: Daemon, ansible: Ansible, image: str) -> None:
    """The examples of the documentation, which find nothing; then one blob, each task in check mode and twice."""
    space = {"namespace": "labelled"}
    agent.put("/v1/labelled/images", {"reference": image, "plain_http": True})
    blob = agent.get("/v1/labelled/content")["items"][0]["digest"]
    ansible.play_examples(agent.socket_path, "content")
    check = {"keywords": {"check_mode": True, "diff": True}}
    kept = {"digest": blob, "keep": True, "labels": {"team": "web"}, **space}
    free = {"digest": blob, "keep": False, "labels": {"team": ""}, **space}
    gone = {"digest": blob, "state": "absent", **space}
    steps = [task("content", **each, **mode) for each in (kept, free, gone) for mode in (check, {}, {})]
    played = ansible.play(agent.socket_path, *steps, task("content", digest=blob, **space), way="relay")
    assert played.changed[:9] == [True, True, False] * 3
    assert (
        played.results[1]["content"]["labels"].items()
        >= {"team": "web", "containerd.io/gc.root": "true"}.items()
    )
    assert played.results[0]["diff"]["after"] == played.results[1]["content"]
    assert not {"team", "containerd.io/gc.root"} & {*played.results[4]["content"]["labels"]}
    assert blob not in {each["digest"] for each in agent.get("/v1/labelled/content")["items"]}
    assert "does not exist in namespace labelled" in played.results[9]["msg"]


@pytest.mark.parametrize("way", ["relay", "module"])
def test_refusals_name_the_remedy(agent: Daemon, ansible: Ansible, way: str) -> None:
    played = ansible.play(
        agent.socket_path,
        task("container", name="web", state="present", image="x", env={"A": True}),
        task("container", name="no/name", image="x", pull="never"),
        task("node_info", socket="/nowhere/tricorn.sock"),
        task("container", name="web", imagee="x"),
        way=way,
    )
    assert [result["failed"] for result in played.results] == [True] * 4
    messages = [result["msg"] for result in played.results]
    assert "put it in quotes" in messages[0]
    assert played.results[1]["error"]["code"] == "InvalidArgument"
    assert "option 'socket'" in messages[2]
    assert "imagee" in messages[3]


@pytest.mark.parametrize("way", ["socket", "module"])
def test_passwords_are_shown_nowhere(agent: Daemon, ansible: Ansible, way: str) -> None:
    secret = "correct-horse-battery"
    pull = task("image", name="127.0.0.1:1/no/where:1", plain_http=True, registry_username="me",
                registry_password=secret)  # fmt: skip
    played = ansible.play(agent.socket_path, pull, way=way, arguments=["-vvv", "--diff"])
    assert played.results[0]["failed"]
    assert "registry_password" in played.output
    assert secret not in played.output
    assert secret not in json.dumps(played.results)
    assert secret not in agent.log


@pytest.mark.parametrize("way", ["socket", "module"])
def test_words_of_the_node_are_no_templates(agent: Daemon, ansible: Ansible, image: str, way: str) -> None:
    label = "{{ 7 * 7 }}"
    body = {"reference": image, "plain_http": True, "labels": {"sum": label}}
    agent.put("/v1/templates/images", body)
    show = {"ansible.builtin.debug": {"msg": "label {{ r0.images[0].labels.sum }}"}}
    played = ansible.play(agent.socket_path, task("image_info", namespace="templates"), show, way=way)
    assert played.results[1]["msg"] == f"label {label}"


def test_async_tasks_run_as_modules(agent: Daemon, ansible: Ansible, image: str) -> None:
    pull = task("image", name=image, plain_http=True, namespace="async", keywords={"async": 60, "poll": 1})
    played = ansible.play(agent.socket_path, pull)
    assert played.results[0]["changed"] is True
    assert played.results[0]["finished"]
    assert len(agent.get("/v1/async/images")["items"]) == 1


# ---------------------------------------------------------------- the role
@frozen
class Node:
    """Places for an agent of the role's own, beside any that this machine runs."""

    directory: Path
    image: str
    wheel: str

    @property
    def socket(self) -> str:
        return str(self.directory / "run/tricorn.sock")

    def variables(self, **more: Any) -> dict[str, Any]:
        place = str(self.directory)
        return {
            "ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3",
            "agent_root": f"{place}/root", "agent_state_dir": f"{place}/run", "agent_prefix": f"{place}/opt",
            "agent_config_dir": f"{place}/etc", "agent_bin_dir": f"{place}/bin", "agent_log_dir": f"{place}/log",
            "agent_socket": self.socket, "agent_group": "tricorn-tests", "agent_packages": [], "agent_wheel": self.wheel,
            "agent_bundle_cache": str(PROJECT / ".ansible/bundles"),
            "agent_hosts": [{"host": self.image.split("/")[0], "server": f"http://{self.image.split('/')[0]}"}],
            "demo_image": self.image, "demo_plain_http": True, **more,
        }  # fmt: skip


def demonstrate(ansible: Ansible, node: Node, **variables: Any) -> tuple[int, str]:
    """Run the demonstration; return the number of changes and the output."""
    book = PROJECT / "collections/ansible_containerd/playbooks/demo.yml"
    done = ansible.run(book, node.variables(**variables))
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.rpartition("changed=")[2].split()[0]), done.stdout


def main_pid(node: Node, container: str) -> int:
    client = AgentClient(node.socket)
    pid: int = client.get(f"/v1/default/containers/{container}")["task"]["pid"]
    return pid


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="would install the units of this machine")
def test_the_role_installs_changes_and_removes(ansible: Ansible, image: str, release: Release) -> None:
    with short_directory() as directory:
        (directory / "bin").mkdir()
        node = Node(directory, image, str(release.wheel))
        clean = PROJECT / "collections/ansible_containerd/playbooks/demo_clean.yml"
        try:
            changes, _ = demonstrate(ansible, node)
            assert changes > 5
            pid = main_pid(node, "demo")
            assert demonstrate(ansible, node)[0] == 0

            # a new configuration restarts the agent, and leaves the container alone
            changes, output = demonstrate(ansible, node, agent_config={"log_level": "debug"})
            assert changes == 3, output  # the file, the stop, the start
            assert main_pid(node, "demo") == pid
            assert 'log_level = "debug"' in (directory / "etc/config.toml").read_text()
        finally:
            done = ansible.run(clean, node.variables())
        assert done.returncode == 0, done.stdout + done.stderr
        assert not Path(f"/proc/{pid}").exists()
        assert sorted(path.name for path in directory.iterdir()) == ["bin"]
        assert list((directory / "bin").iterdir()) == []
