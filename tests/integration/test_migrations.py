"""Containers that move between two agents, whatever dies or is cut off meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.migrating import NS, Pair, migrating_pair
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
COUNTER = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >>/ticks; sleep 0.05; done"]


@pytest.fixture(scope="module")
def pair(busybox_reference: str) -> Iterator[Pair]:
    with migrating_pair() as made:
        made.source.put(f"/v1/{NS}/images", {"reference": busybox_reference, "plain_http": True})
        yield made


@pytest.fixture
def name(pair: Pair, request: pytest.FixtureRequest) -> Iterator[str]:
    base = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[-40:].strip("-")
    yield base
    pair.wire.mend()
    for agent in pair.both:
        if agent.process is None:
            agent.start()
        for each in (base, f"{base}-2"):
            try:
                agent.delete(f"/v1/{NS}/containers/{each}", force=True)
            except ApiError as error:
                assert error.status == 404  # noqa: PT017 - in a fixture's end


def run(pair: Pair, image: str, name: str, args: list[str] = COUNTER, **desired: Any) -> None:
    pair.source.put(f"/v1/{NS}/containers/{name}", {"image": image, "args": args, **desired})


def ticks(agent: Daemon, name: str) -> list[int]:
    """Return what a counter wrote to its file."""
    pid = agent.get(f"/v1/{NS}/containers/{name}")["task"]["pid"]
    try:
        return [int(line) for line in Path(f"/proc/{pid}/root/ticks").read_text().split()]
    except (FileNotFoundError, ValueError):
        return []


def counts_on(agent: Daemon, name: str) -> None:
    """Wait until it counts; no number is missing, and none is there twice."""
    before = len(ticks(agent, name))
    eventually(lambda: len(ticks(agent, name)) > before)
    seen = ticks(agent, name)
    assert seen == list(range(1, len(seen) + 1))


def test_a_counter_goes_on_at_the_other_node(pair, busybox_reference, name):
    run(pair, busybox_reference, name, labels={"tier": "web"})
    eventually(lambda: len(ticks(pair.source, name)) > 3)
    done = pair.source.cli("--json", "migrate", name, "--to", "there", "--name", f"{name}-2", "--keep-image")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(result["report"])
    assert (result["state"], result["name"], result["node"]) == ("done", f"{name}-2", "there")
    counts_on(pair.target, f"{name}-2")
    assert pair.status(pair.source, name) == ""
    view = pair.target.get(f"/v1/{NS}/containers/{name}-2")
    assert view["labels"]["tier"] == "web"
    names = [item["name"] for item in pair.target.get(f"/v1/{NS}/images")["items"]]
    assert names == [busybox_reference]
