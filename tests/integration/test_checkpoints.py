"""Checkpoints by the agent's own door: images of running containers, restored as others."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.criu import SecludedDaemon, checkpointing_daemon, two_names
from tricorn_testing.daemon import ApiError
from tricorn_testing.paths import found
from tricorn_testing.registry import Registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
NS = "default"
COUNTER = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; echo $i >>/ticks; sleep 0.05; done"]
WAIT = 60.0


@pytest.fixture(scope="module")
def agent() -> Iterator[SecludedDaemon]:
    with checkpointing_daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def image(agent: SecludedDaemon, busybox_reference: str) -> str:
    agent.put(f"/v1/{NS}/images", {"reference": busybox_reference, "plain_http": True})
    return busybox_reference


@pytest.fixture
def names(agent: SecludedDaemon, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    with two_names(agent, request.node.name) as names:
        yield names


def start(agent: SecludedDaemon, name: str, image: str, args: list[str] = COUNTER, **desired: Any) -> None:
    agent.put(f"/v1/{NS}/containers/{name}", {"image": image, "args": args, **desired})


def ticks(agent: SecludedDaemon, name: str) -> list[int]:
    """Return what a counter wrote to its file."""
    pid = agent.get(f"/v1/{NS}/containers/{name}")["task"]["pid"]
    try:
        return [int(line) for line in Path(f"/proc/{pid}/root/ticks").read_text().split()]
    except (FileNotFoundError, ValueError):
        return []


def counts(agent: SecludedDaemon, name: str) -> bool:
    before = len(ticks(agent, name))
    eventually(lambda: len(ticks(agent, name)) > before)
    return True


def checkpoint(agent: SecludedDaemon, name: str, image: str, **options: Any) -> dict[str, Any]:
    return dict(agent.post(f"/v1/{NS}/containers/{name}/checkpoint", {"image": image, **options}))


def restore(agent: SecludedDaemon, image: str, name: str, **options: Any) -> dict[str, Any]:
    return dict(agent.post(f"/v1/{NS}/checkpoints/restore", {"image": image, "id": name, **options}))


def test_info_says_which_criu(agent):
    found = {item["name"]: item for item in agent.get("/v1/info")["capabilities"]}["checkpoint"]
    assert found["available"], found
    assert found["details"]["path"].endswith("/criu")
    assert found["details"]["runtimes"] == ["runc"]
    assert int(found["details"]["version"].split(".")[0]) >= 4


def test_by_the_command_line_a_counter_goes_on_where_it_was(agent, image, names):
    first, second = names
    start(agent, first, image, labels={"secret": "1"}, annotations={"vendor.example/device": "all"})
    eventually(lambda: len(ticks(agent, first)) > 3)
    made = agent.cli("--json", "checkpoint", first, "test/cli:1")
    assert made.returncode == 0, made.stderr
    result = json.loads(made.stdout)
    assert (result["container"], result["base"]) == (first, image)
    assert 0 < result["frozen_ms"] < 60_000
    task = agent.get(f"/v1/{NS}/containers/{first}")["task"]
    assert (task["status"], task["exit_code"], task["exit_note"]) == ("stopped", 137, "checkpointed")
    named = agent.get(f"/v1/{NS}/images")
    assert agent.cli("gc").returncode == 0  # the image keeps all of its parts
    done = agent.cli("restore", result["image"], second, "-l", "tier=web", "-m", "64m")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == second
    assert counts(agent, second)
    seen = ticks(agent, second)
    assert seen == list(range(1, len(seen) + 1))
    view = agent.get(f"/v1/{NS}/containers/{second}")
    assert (view["labels"]["tier"], view["labels"].get("secret")) == ("web", None)
    assert view["spec"]["annotations"] == {}
    assert agent.get(f"/v1/{NS}/images") == named  # a checkpoint gives no image a name (CVE-2026-50195)
    assert view["spec"]["linux"]["resources"]["memory"]["limit"] == 64 << 20
    log = agent.cli("logs", second)
    assert int(log.stdout.split()[0]) > 1  # the new log begins where the old one ended


def test_a_process_whose_end_nobody_asked_for_is_no_hindrance(agent, image, names):
    """What is `exec`ed into keeps its children, and doesn't wait for them."""
    first, second = names
    start(agent, first, image, ["sh", "-c", "true & exec sleep 1000"])
    pid = agent.get(f"/v1/{NS}/containers/{first}")["task"]["pid"]

    def is_over() -> bool:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any(") Z " in Path(f"/proc/{child}/stat").read_text() for child in children)

    eventually(is_over)
    checkpoint(agent, first, "test/over:1")
    restore(agent, "test/over:1", second)
    assert agent.get(f"/v1/{NS}/containers/{second}")["task"]["status"] == "running"


def test_left_running_it_runs_on_and_its_parts_are_secret(agent, image, names):
    name = names[0]
    start(agent, name, image)
    eventually(lambda: bool(ticks(agent, name)))
    made = checkpoint(agent, name, "test/left:1", leave_running=True, base=False, rw=False)
    assert counts(agent, name)
    assert sorted(kind.rpartition(".container.")[2] for kind in made["parts"]) == [
        "checkpoint.config.v1+proto", "checkpoint.options.v1+proto", "criu.checkpoint.criu.tar",
    ]  # fmt: skip
    for digest in made["parts"].values():
        blob = agent.root / "content/blobs/sha256" / digest.removeprefix("sha256:")
        assert blob.stat().st_mode & 0o777 == 0o400
    assert os.listdir(agent.root / "dumps" / NS) == []
    with pytest.raises(ApiError) as caught:
        checkpoint(agent, name, "test/left:1", leave_running=True)
    assert caught.value.status == 409
    agent.delete(f"/v1/{NS}/images/test%2Fleft:1")


def test_it_travels_through_a_registry(agent, image, names, registry: Registry):
    first, second = names
    start(agent, first, image)
    eventually(lambda: len(ticks(agent, first)) > 3)
    reference = f"{registry.address}/checkpoints/counter:1"
    digest = checkpoint(agent, first, reference)["digest"]
    quoted = reference.replace("/", "%2F")
    agent.post(f"/v1/{NS}/images/{quoted}/push", {"plain_http": True})
    other = "elsewhere"
    agent.put(f"/v1/{other}/images", {"reference": reference, "plain_http": True})
    assert agent.get(f"/v1/{other}/images/{quoted}")["digest"] == digest
    body = {"image": reference, "id": second}
    agent.post(f"/v1/{other}/checkpoints/restore", body)
    try:
        view = agent.get(f"/v1/{other}/containers/{second}")
        assert view["task"]["status"] == "running"
        assert [item["name"] for item in agent.get(f"/v1/{other}/images")["items"]] == [reference]
    finally:
        agent.delete(f"/v1/{other}/containers/{second}", force=True)


@pytest.mark.parametrize(
    ("granted", "wanted", "words"),
    [
        ({"cap_add": ["NET_ADMIN"]}, {}, "CAP_NET_ADMIN"),
        ({"seccomp": "unconfined"}, {}, "seccomp"),
        ({"privileged": True}, {}, "isn't"),
        ({"mounts": [{"target": "/mnt", "source": "/usr"}]}, {}, "/mnt"),
        ({}, {"user": "1000:1000"}, "user 0"),
        ({"no_new_privileges": False}, {}, "privileges"),
    ],
    ids=["capability", "seccomp", "privileged", "mount", "user", "privileges"],
)  # fmt: skip
def test_a_dump_of_more_privileges_is_refused(agent, image, names, granted, wanted, words):
    first, second = names
    start(agent, first, image, ["sleep", "1000"], **granted)
    tag = f"test/{first}:1"
    checkpoint(agent, first, tag, rw=False)
    with pytest.raises(ApiError) as caught:
        restore(agent, tag, second, container={"image": image, **wanted})
    assert caught.value.status == 403, caught.value
    assert words in str(caught.value)
    with pytest.raises(ApiError):
        agent.get(f"/v1/{NS}/containers/{second}")
    if granted and "privileged" not in granted:  # asked for, it is given
        restore(agent, tag, second, container={"image": image, **granted})
        assert agent.get(f"/v1/{NS}/containers/{second}")["task"]["status"] == "running"


def test_what_criu_refuses_is_told_with_the_remedy_and_the_container_runs_on(agent, image, names):
    name = names[0]
    talk = (
        "mkfifo /f; sleep 1000 >/f & sleep 1000 | nc -l -p 99 & until nc 127.0.0.1 99 </f; do sleep 0.1; done"
    )
    start(agent, name, image, ["sh", "-c", talk])
    path = f"/v1/{NS}/containers/{name}"
    pid = agent.get(path)["task"]["pid"]
    eventually(lambda: " 01 " in Path(f"/proc/{pid}/net/tcp").read_text())
    with pytest.raises(ApiError) as caught:
        checkpoint(agent, name, "test/tcp:1")
    assert caught.value.status == 412
    assert "--tcp-established" in str(caught.value)
    assert agent.get(path)["task"]["status"] == "running"
    assert (agent.root / "dumps" / NS / name).exists() is False


def test_in_a_user_namespace_it_goes_on_with_its_ids(agent, image, names):
    first, second = names
    agent.directory.chmod(0o711)  # the mapped root has to pass
    tag = f"test/{first}:1"
    start(agent, first, image, namespaces={"user": "private"})
    eventually(lambda: len(ticks(agent, first)) > 3)
    pid = agent.get(f"/v1/{NS}/containers/{first}")["task"]["pid"]
    maps = Path(f"/proc/{pid}/uid_map").read_text().split()
    checkpoint(agent, first, tag)
    wanted = {"image": image, "namespaces": {"user": "private"}}
    with pytest.raises(ApiError, match="some of the ids") as caught:
        restore(agent, tag, second, container=wanted)
    assert caught.value.status == 409
    agent.delete(f"/v1/{NS}/containers/{first}", force=True)
    for other in ({}, {"uid_map": ["0:300000:65536"]}):
        with pytest.raises(ApiError, match="user namespace") as caught:
            restore(agent, tag, second, container={"image": image, **other})
        assert caught.value.status == 403
    done = agent.cli("restore", "--userns", "private", tag, second)
    assert done.returncode == 0, done.stderr
    assert counts(agent, second)
    seen = ticks(agent, second)
    assert seen == list(range(1, len(seen) + 1))
    pid = agent.get(f"/v1/{NS}/containers/{second}")["task"]["pid"]
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == maps
    for file in ("ticks", "bin/sh"):
        assert Path(f"/proc/{pid}/root/{file}").stat().st_uid == int(maps[1]), file
    said = agent.post(f"/v1/{NS}/containers/{second}/exec", {"args": ["stat", "-c", "%u", "/ticks"]})
    assert said["stdout"] == "0\n"
    assert agent.cli("stop", "-t", "0", second).returncode == 0
    assert agent.cli("start", second).returncode == 0  # anew, on the files that it has
    lazily = {"lazy": True, "container": {"image": image, "uid_map": [":".join(maps)]}}
    with pytest.raises(ApiError, match="lazily into a user namespace"):
        restore(agent, tag, f"{first}-lazy", **lazily)


def test_killed_at_any_step_the_agent_leaves_nothing_frozen_and_nothing_half(agent, image, names):
    """Each start recovers from the step before and is killed at its own."""
    name, other = names
    start(agent, name, image)
    eventually(lambda: bool(ticks(agent, name)))
    for step in ("checkpoint.dumped", "checkpoint.recorded", "start.created", ""):
        if agent.process:
            agent.terminate()
        agent.start(TRICORN_FAILPOINTS=f"{step}=kill" if step else "")
        running = {item["id"]: item["task"]["status"] for item in agent.get(f"/v1/{NS}/containers")["items"]}
        assert running == {name: "running"}, step
        assert counts(agent, name), step
        assert not found(agent.root, "dumps/*/*"), step
        assert not found(agent.root, "restores/*/*"), step
        if step:
            with pytest.raises((OSError, http.client.HTTPException)):
                if step == "start.created":
                    restore(agent, "test/killed:checkpoint.recorded", other)
                else:
                    checkpoint(agent, name, f"test/killed:{step}", leave_running=True)
            assert agent.wait_exit() == -9, step
    images = {item["name"] for item in agent.get(f"/v1/{NS}/images")["items"]}
    assert {tag for tag in images if "killed" in tag} == {"docker.io/test/killed:checkpoint.recorded"}
    restore(agent, "test/killed:checkpoint.recorded", other)
    assert counts(agent, other)
