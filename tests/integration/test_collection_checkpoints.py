"""The modules `checkpoint`, `restore` and `migrate` against agents that dump with a real CRIU: the examples
of their documentation, then each task once and again, checked before, and what they refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn_testing.ansible_plays import COLLECTION, Ansible, Task, examples
from tricorn_testing.daemon import Daemon, segment
from tricorn_testing.migrating import NS, Pair, migrating_pair
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
COUNTER = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >>/ticks; sleep 0.05; done"]
STATE = "registry.example.org/state/worker:before-upgrade"
LOOKED_AT = {"check_mode": True, "diff": True}


@pytest.fixture(scope="module")
def pair(busybox_reference: str) -> Iterator[Pair]:
    with migrating_pair() as made:
        made.source.put(f"/v1/{NS}/images", {"reference": busybox_reference, "plain_http": True})
        yield made


@pytest.fixture
def counters(pair: Pair, busybox_reference: str) -> Iterator[Daemon]:
    """The node with the containers that the examples take for granted."""
    names = ("worker", "cache")
    for name in names:
        body = {"image": busybox_reference, "args": COUNTER, "stop_timeout": 0.1}
        pair.source.put(f"/v1/{NS}/containers/{name}", body)
    eventually(lambda: all(ticks(pair.source, name) for name in names))
    yield pair.source
    for agent in pair.both:
        for item in agent.get(f"/v1/{NS}/containers")["items"]:
            agent.delete(f"/v1/{NS}/containers/{item['id']}", force=True)
        for item in agent.get(f"/v1/{NS}/images")["items"]:
            if item["name"] != busybox_reference:
                agent.delete(f"/v1/{NS}/images/{segment(item['name'])}")


def ticks(agent: Daemon, name: str) -> list[str]:
    pid = agent.get(f"/v1/{NS}/containers/{name}")["task"]["pid"]
    path = Path(f"/proc/{pid}/root/ticks")
    return path.read_text().split() if path.exists() else []


def goes_on(agent: Daemon, name: str, beyond: int) -> None:
    """Wait until it counts beyond a number; none is missing, and none is there twice."""
    eventually(lambda: len(ticks(agent, name)) > beyond)
    seen = ticks(agent, name)
    assert seen == [str(number) for number in range(1, len(seen) + 1)]


def example(module: str, **more: object) -> Task:
    """Return the first example of a module, with more options."""
    found = examples(module)[0]
    options = found[f"{COLLECTION}.{module}"]
    return {f"{COLLECTION}.{module}": {**options, **more}}


def test_a_checkpoint_and_its_restore_once_and_again(pair: Pair, ansible: Ansible, counters: Daemon) -> None:
    made, restored = example("checkpoint"), example("restore")
    steps = [
        {**made, **LOOKED_AT}, made, made, {**made, **LOOKED_AT}, example("checkpoint", force=True),
        {**restored, **LOOKED_AT}, restored, restored, {**restored, **LOOKED_AT},
    ]  # fmt: skip
    played = ansible.play(counters.socket_path, *steps, way="relay")
    assert not [result["msg"] for result in played.results if result["failed"]]
    assert played.changed == [True, True, False, False, True, True, True, False, False]
    planned, first, again = played.results[:3]
    assert (planned["diff"]["before"], planned["diff"]["after"]) == ({}, {"image": STATE})
    assert first["checkpoint"]["digest"] == again["checkpoint"]["digest"]
    assert first["checkpoint"]["frozen_ms"] > 0
    assert again["actions"] == played.results[3]["actions"] == []
    forced = played.results[4]["checkpoint"]
    assert forced["digest"] != first["checkpoint"]["digest"]
    assert "+++ after: checkpoint worker" in played.output
    here = counters.get(f"/v1/{NS}/containers/worker-2")
    assert (here["labels"]["app"], here["task"]["status"]) == ("shop", "running")
    assert (
        played.results[6]["container"]["pid"] == played.results[7]["container"]["pid"] == here["task"]["pid"]
    )
    goes_on(counters, "worker", 1)
    goes_on(counters, "worker-2", 1)


def test_a_migration_once_and_again_and_what_is_refused(
    pair: Pair, ansible: Ansible, counters: Daemon
) -> None:
    seen = len(ticks(counters, "cache"))
    counters.post(f"/v1/{NS}/containers/worker/stop", {"timeout": 0})
    move = example("migrate", to="there", name_there="cache-2")
    played = ansible.play(
        counters.socket_path,
        example("migrate", to="nowhere"), {**move, **LOOKED_AT}, {**move, "diff": True}, move, {**move, **LOOKED_AT},
        example("checkpoint"), example("checkpoint", container="none"), example("restore"),
        example("migrate", container="worker"), example("migrate", container="none"),
        way="relay",
    )  # fmt: skip
    refused, moves = [played.results[0], *played.results[5:]], played.results[1:5]
    assert not [result["msg"] for result in moves if result["failed"]]
    assert played.changed == [False, True, True, False, False, *[False] * 5]
    planned, done, again, _ = moves
    assert planned["diff"]["after"] == done["diff"]["after"] == {"node": "there", "name": "cache-2"}
    assert done["migration"]["report"]["downtime_ms"] > 0
    assert again["migration"]["id"] == done["migration"]["id"]
    assert "+++ after: container cache" in played.output
    goes_on(pair.target, "cache-2", seen)
    assert pair.status(counters, "cache") == ""
    words = ["nowhere", "nothing to checkpoint", "none", STATE, "nothing to migrate", "none"]
    messages = [result["msg"] for result in refused]
    assert [word in message for word, message in zip(words, messages, strict=True)] == [True] * 6, messages
