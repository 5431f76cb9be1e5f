"""Pulls, imports and deletions side by side with collections that never stop: nothing that an image needs is
ever lost, and nothing stays once the images are gone.
"""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tricorn_testing.agentclient import UnixConnection, segment
from tricorn_testing.daemon import Daemon, running_daemon
from tricorn_testing.images import ImageLayout, LayerBuilder
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.integration]
ROUNDS = 4


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> ImageLayout:
    """Three images; each shares a layer with the others and has one of its own."""
    made = ImageLayout(tmp_path_factory.mktemp("races") / "layout")
    shared = LayerBuilder().file("shared", os.urandom(200_000)).layer("gzip")
    for name in ("a", "b", "c"):
        own = LayerBuilder().file(name, os.urandom(100_000)).layer("gzip")
        made.tag(name, made.add_image([shared, own], {"Cmd": [name]}))
    return made


def check_whole(daemon: Daemon, namespace: str, reference: str) -> None:
    (checked,) = daemon.get(f"/v1/{namespace}/image-check", name=reference)["items"]
    assert checked["complete"], checked
    assert checked["unpacked"] == ["overlayfs"]


def pull_and_forget(daemon: Daemon, namespace: str, reference: str) -> None:
    for _ in range(ROUNDS):
        daemon.put(f"/v1/{namespace}/images", {"reference": reference, "plain_http": True})
        check_whole(daemon, namespace, reference)
        daemon.delete(f"/v1/{namespace}/images/{segment(reference)}")
    daemon.put(f"/v1/{namespace}/images", {"reference": reference, "plain_http": True})


def import_and_forget(daemon: Daemon, namespace: str, archive: bytes) -> None:
    for number in range(ROUNDS):
        connection = UnixConnection(daemon.socket_path, 60)
        try:
            connection.request("POST", f"/v1/{namespace}/archive?base_name=races.example/i", archive)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
        except http.client.HTTPException as error:
            raise AssertionError("the agent went away") from error
        finally:
            connection.close()
        for image in daemon.get(f"/v1/{namespace}/images")["items"]:
            check_whole(daemon, namespace, image["name"])
            if number < ROUNDS - 1:
                daemon.delete(f"/v1/{namespace}/images/{segment(image['name'])}")


def collect_until(daemon: Daemon, over: threading.Event) -> int:
    runs = 0
    while not over.is_set():
        daemon.post("/v1/gc")
        runs += 1
    return runs


def test_nothing_is_lost_and_nothing_stays(
    daemon: Daemon, layout: ImageLayout, registry: Registry, tmp_path: Path
) -> None:
    references = {name: registry.push(layout, name, f"races/{name}:1") for name in ("a", "b", "c")}
    archive = layout.archive(tmp_path / "all.tar").read_bytes()
    work: list[Callable[[], None]] = [
        lambda: pull_and_forget(daemon, "one", references["a"]),
        lambda: pull_and_forget(daemon, "one", references["b"]),
        lambda: pull_and_forget(daemon, "two", references["a"]),
        lambda: pull_and_forget(daemon, "two", references["c"]),
        lambda: import_and_forget(daemon, "three", archive),
    ]
    over = threading.Event()
    with ThreadPoolExecutor(len(work) + 1) as pool:
        collections = pool.submit(collect_until, daemon, over)
        try:
            for done in [pool.submit(each) for each in work]:
                done.result(timeout=120)
        finally:
            over.set()
        assert collections.result() >= ROUNDS
    for namespace, names in (("one", "ab"), ("two", "ac")):
        for name in names:
            check_whole(daemon, namespace, references[name])
    report = daemon.post("/v1/content/scrub")
    assert report["damaged"] == []
    assert report["checked"] == 10  # one shared layer; of each image a layer, a config and a manifest
    for namespace in ("one", "two", "three"):
        for image in daemon.get(f"/v1/{namespace}/images")["items"]:
            daemon.delete(f"/v1/{namespace}/images/{segment(image['name'])}")
    daemon.post("/v1/gc")
    assert list((daemon.root / "content/blobs/sha256").iterdir()) == []
    assert list((daemon.root / "content/ingests").iterdir()) == []
    assert list((daemon.root / "snapshots/overlayfs/snapshots").iterdir()) == []
    usage = [daemon.get(f"/v1/namespaces/{name}/usage") for name in ("one", "two", "three")]
    assert [item["content"] + item["snapshots"] for item in usage] == [0, 0, 0]
