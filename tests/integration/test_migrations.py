"""Containers that move between two agents, whatever dies or is cut off meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tricorn_testing.cgroups import remove_cgroups
from tricorn_testing.ctr import Ctr, ctr_program, missing_ctr
from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.migrating import NS, Pair, migrating_pair
from tricorn_testing.paths import found
from tricorn_testing.registry import Registry, running_registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
CLIENTS = "migration-clients"
COUNTER = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >>/ticks; sleep 0.05; done"]

RULE = f"""ids = ["100000:65536", "200000:65536"]
registries = ["127.0.0.1:*/moves"]
[[peers.migrations]]
names = ["here.example"]
namespaces = ["{CLIENTS}"]
privileges = true
"""


@pytest.fixture(scope="module")
def pair(busybox_reference: str) -> Iterator[Pair]:
    with migrating_pair(RULE) as made:
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


def test_a_container_in_a_user_namespace_keeps_its_ids(pair, busybox_reference, name):
    for agent in pair.both:
        agent.directory.chmod(0o711)  # the mapped root has to pass
    maps = {"uid_map": ["0:100000:65536"], "gid_map": ["0:200000:65536"]}
    run(pair, busybox_reference, name, **maps)
    eventually(lambda: bool(ticks(pair.source, name)))
    pair.migrate(name)
    counts_on(pair.target, name)
    pid = pair.target.get(f"/v1/{NS}/containers/{name}")["task"]["pid"]
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    for file in ("ticks", "bin/sh"):
        found = Path(f"/proc/{pid}/root/{file}").stat()
        assert (found.st_uid, found.st_gid) == (100_000, 200_000), file
    said = pair.target.post(f"/v1/{NS}/containers/{name}/exec", {"args": ["stat", "-c", "%u", "/ticks"]})
    assert said["stdout"] == "0\n"
    run(pair, busybox_reference, f"{name}-2", uid_map=["0:300000:65536"])
    with pytest.raises(ApiError, match="user ids 300000 to 365535"):
        pair.migrate(f"{name}-2")
    assert pair.status(pair.source, f"{name}-2") == "running"


@pytest.fixture
def ctr(pair: Pair, busybox_reference: str) -> Iterator[Ctr]:
    """containerd's own client, which makes containers at the source."""
    version = "2.1"
    if reason := missing_ctr(version):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    fifos = pair.source.directory / "fifos"
    pair.source.put(f"/v1/{CLIENTS}/images", {"reference": busybox_reference, "plain_http": True})
    yield Ctr(version, ctr_program(version), str(pair.source.socket_path), CLIENTS, fifos)
    for agent in pair.both:
        for item in agent.get(f"/v1/{CLIENTS}/containers")["items"]:
            agent.delete(f"/v1/{CLIENTS}/containers/{item['id']}", force=True)
    remove_cgroups(f"/{CLIENTS}")


def test_a_container_of_another_client_moves_with_its_own_spec(pair, ctr, busybox_reference):
    counter = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done"]
    ctr.run("run", "-d", "--label", "tier=web", busybox_reference, "made", *counter)
    fifo = next(ctr.fifos.rglob("*-stdout"))
    path = f"/v1/{CLIENTS}/containers/made"
    with open(fifo, "rb") as reader:
        assert reader.readline()
        with pytest.raises(ApiError, match="while a client has its stdio"):
            pair.source.post(f"{path}/migrate", {"to": "there", "name": "moved"})
    done = pair.source.cli("-n", CLIENTS, "migrate", "made", "--to", "there", "--name", "moved")
    assert done.returncode == 0, done.stderr
    assert ctr.run("containers", "ls", "-q").stdout == ""
    eventually(lambda: "tick" in pair.target.cli("-n", CLIENTS, "logs", "moved").stdout)
    there = evolve(ctr, address=str(pair.target.socket_path))
    info = json.loads(there.run("containers", "info", "moved").stdout)
    assert info["Labels"]["tier"] == "web"
    assert info["Spec"]["process"]["args"] == counter
    assert [(row["TASK"], row["STATUS"]) for row in there.rows("tasks", "ls")] == [("moved", "RUNNING")]


def one_copy(pair: Pair, name: str, where: Daemon) -> None:
    """Wait until nothing is uncertain; exactly one copy runs then, on `where`, and no number was lost."""

    def settled() -> bool:
        states = {item["state"] for agent in pair.both for item in pair.migrations(agent)}
        return states <= {"done", "failed", "refused", "running"}  # a target that didn't hear the last word

    eventually(settled, "a migration stays unsettled")
    other = next(agent for agent in pair.both if agent is not where)
    assert (pair.status(where, name), pair.status(other, name)) == ("running", "")
    counts_on(where, name)
    for agent in pair.both:
        assert not found(agent.root, "migrations/*"), "a dump was left"
        assert not found(agent.root, "restores/*/*"), "a dump was left"


def try_to_migrate(pair: Pair, name: str, **wanted: Any) -> str:
    """Return what the migration failed with, or what became of the connection; "" if it didn't fail."""
    try:
        pair.migrate(name, **wanted)
    except ApiError as error:
        return str(error)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    return ""


@pytest.fixture
def deleting(tmp_path: Path) -> Iterator[Registry]:
    """One whose storage can be looked at."""
    with running_registry(tmp_path) as made:
        yield made


def test_by_a_registry_one_copy_goes_on_whoever_dies(pair, deleting, busybox_reference, name, tmp_path):
    run(pair, busybox_reference, name)
    eventually(lambda: bool(ticks(pair.source, name)))
    with pytest.raises(ApiError, match="the way by 127"):
        pair.migrate(name, via=f"{deleting.address}/elsewhere", plain_http=True)
    by = {"via": f"{deleting.address}/moves", "plain_http": True}
    pair.source.restart(TRICORN_FAILPOINTS="departure.pushed=kill")
    assert try_to_migrate(pair, name, **by)
    assert pair.source.wait_exit() == -9
    pair.source.start()
    one_copy(pair, name, pair.source)
    pair.target.restart(TRICORN_FAILPOINTS="arrival.received=kill")
    assert try_to_migrate(pair, name, **by)
    assert pair.target.wait_exit() == -9
    one_copy_here(pair, name)
    pair.target.start()
    one_copy(pair, name, pair.source)
    options = ["--via", by["via"], "--plain-http"]
    done = pair.source.cli("--json", "migrate", name, "--to", "there", *options)
    assert done.returncode == 0, done.stderr
    one_copy(pair, name, pair.target)
    report = json.loads(done.stdout)["report"]
    assert (report["image"], report["image_stays"]) == ("", "")
    # neither of the one that moved, nor of those whose source or target died
    eventually(lambda: not dumps_in(tmp_path), "a dump stays in the registry")


def dumps_in(directory: Path) -> list[str]:
    """Return the digests of what a registry's repository `moves` has of containers on their way."""
    place = directory / "storage/docker/registry/v2"
    found = []
    for kind in ("_manifests/revisions", "_layers"):
        for link in (place / "repositories/moves").glob(f"{kind}/sha256/*/link"):
            digest = link.parent.name
            with open(place / "blobs/sha256" / digest[:2] / digest / "data", "rb") as file:
                head = file.read(4096)
            if b"vnd.tricorn.migration" in head or b".img\0" in head:
                found.append(digest)
    return found


def test_what_a_registry_keeps_is_told(pair, busybox_reference, name, tmp_path):
    run(pair, busybox_reference, name)
    with running_registry(tmp_path, deletes=False) as keeping:
        via = f"{keeping.address}/moves"
        done = pair.source.cli("migrate", name, "--to", "there", "--via", via, "--plain-http")
        assert done.returncode == 0, done.stderr
        assert len(dumps_in(tmp_path)) == 2  # the manifest and the dump
    report = pair.migrations(pair.source)[-1]["report"]
    assert report["image"].startswith(f"{via}@sha256:")
    assert "405" in report["image_stays"]
    assert f"{report['image']} stays" in done.stderr


def one_copy_here(pair: Pair, name: str) -> None:
    eventually(lambda: pair.status(pair.source, name) == "running")
    counts_on(pair.source, name)


def test_whichever_step_the_source_dies_at_one_copy_goes_on(pair, busybox_reference, name):
    run(pair, busybox_reference, name)
    eventually(lambda: bool(ticks(pair.source, name)))
    pair.source.terminate()
    for step in ("frozen", "sent", "asked", "answered"):
        pair.source.start(TRICORN_FAILPOINTS=f"departure.{step}=kill")
        one_copy(pair, name, pair.source)
        assert try_to_migrate(pair, name), step
        assert pair.source.wait_exit() == -9, step
    pair.source.start()
    one_copy(pair, name, pair.target)


def test_whichever_step_the_target_dies_at_one_copy_goes_on(pair, busybox_reference, name):
    run(pair, busybox_reference, name)
    eventually(lambda: bool(ticks(pair.source, name)))
    pair.target.terminate()
    for step in ("arrival.received", "arrival.restoring", "start.created", "arrival.running"):
        pair.target.start(TRICORN_FAILPOINTS=f"{step}=kill")
        one_copy(pair, name, pair.source)
        failed = try_to_migrate(pair, name)
        assert failed, step
        assert pair.target.wait_exit() == -9, step
        if step == "arrival.restoring":
            decide_that_the_source_goes_on(pair, name)
    assert "nobody can tell" in failed
    stands_still_and_says_so(pair, name)
    pair.source.restart()  # what is uncertain stays so
    stands_still_and_says_so(pair, name)
    pair.target.start()
    one_copy(pair, name, pair.target)


def decide_that_the_source_goes_on(pair: Pair, name: str) -> None:
    identity = json.loads(pair.source.cli("--json", "migrations", "ls").stdout)[-1]["id"]
    done = pair.source.cli("migrations", "resolve", identity, "--keep", "source")
    assert done.returncode == 0, done.stderr
    counts_on(pair.source, name)
    assert pair.source.cli("migrations", "resolve", identity, "--keep", "target").returncode != 0


def stands_still_and_says_so(pair: Pair, name: str) -> None:
    """While nobody can tell what became of it, the source's copy stands still, and no verb moves it."""
    eventually(lambda: pair.migrations(pair.source)[-1]["state"] == "uncertain")
    latest = pair.migrations(pair.source)[-1]
    assert "--keep source" in latest["hint"]
    assert pair.status(pair.source, name) == "paused"
    before = ticks(pair.source, name)
    for verb in ("resume", "start"):
        done = pair.source.cli(verb, name)
        assert done.returncode != 0
        assert "being migrated" in done.stderr
    assert ticks(pair.source, name) == before


def test_wherever_the_network_is_cut_one_copy_goes_on(pair, busybox_reference, name):
    run(pair, busybox_reference, name)
    eventually(lambda: bool(ticks(pair.source, name)))
    pair.wire.cut()
    assert "Unavailable" in try_to_migrate(pair, name)
    one_copy(pair, name, pair.source)
    pair.wire.mend()
    pair.wire.cut_after(100_000)  # amid the dump
    assert try_to_migrate(pair, name)
    pair.wire.mend()
    one_copy(pair, name, pair.source)
    pair.target.restart(TRICORN_FAILPOINTS="arrival.restoring=delay(1)")
    with ThreadPoolExecutor(1) as pool:
        failed = pool.submit(try_to_migrate, pair, name)
        eventually(lambda: pair.migrations(pair.source)[-1]["state"] == "restore")
        pair.wire.cut()
        assert "nobody can tell" in failed.result()
    pair.wire.mend()
    one_copy(pair, name, pair.target)


def test_a_cordoned_node_takes_no_container(pair, busybox_reference, name):
    run(pair, busybox_reference, name)
    pair.target.put("/v1/node/cordon", {"reason": "new disks"})
    try:
        with pytest.raises(ApiError, match=r"cordoned \(new disks\)") as caught:
            pair.migrate(name)
    finally:
        pair.target.delete("/v1/node/cordon")
    assert caught.value.problem["code"] == "FailedPrecondition"
    assert (pair.status(pair.source, name), pair.status(pair.target, name)) == ("running", "")
