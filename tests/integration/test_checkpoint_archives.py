"""Checkpoint archives in Podman's and CRI's layout (checkpointctl's lib/metadata.go), made here of real dumps."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tricorn_testing.agentclient import UnixConnection
from tricorn_testing.criu import SecludedDaemon, checkpointing_daemon
from tricorn_testing.dump_archives import NS, Entry, changed, dumped, load, packed, podman
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]


@pytest.fixture(scope="module")
def agent() -> Iterator[SecludedDaemon]:
    with checkpointing_daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def image(agent: SecludedDaemon, busybox_reference: str) -> str:
    agent.put(f"/v1/{NS}/images", {"reference": busybox_reference, "plain_http": True})
    return busybox_reference


@pytest.fixture(scope="module")
def parts(agent: SecludedDaemon, image: str) -> dict[str, Any]:
    return dumped(agent, image)


def kubelet(parts: dict[str, Any], image: str) -> list[Entry]:
    """What CRI's CheckpointContainer makes: a layer with whiteouts, the image by its digest."""
    config = {
        "id": "e" * 64, "name": "k8s_web_pod", "rootfsImageName": image,
        "rootfsImageRef": f"{image}@{parts['manifest']}", "checkpointedTime": "2026-11-01T00:00:00Z",
    }  # fmt: skip
    whiteouts = [("etc/.wh.os-release", b"")]
    return [
        *parts["dump"], ("config.dump", json.dumps(config).encode()),
        ("spec.dump", json.dumps(parts["spec"]).encode()), ("status.dump", b"{}"), ("dump.log", b"log"),
        ("container.log", b"log"), ("rootfs-diff.tar", gzip.compress(packed(parts["changed"] + whiteouts))),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "compress"),
    [(podman, zstandard.ZstdCompressor().compress), (kubelet, gzip.compress)],
    ids=["podman", "kubelet"],
)
def test_an_archive_goes_on_where_it_was(
    agent: SecludedDaemon, image: str, parts: dict[str, Any],
    layout: Callable[..., list[Entry]], compress: Callable[[bytes], bytes],
) -> None:  # fmt: skip
    name = layout.__name__
    done = load(agent, compress(packed(layout(parts, image))), tag=f"test/{name}:1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["base"] == image
    assert any("/dev/shm" in text for text in result["warnings"]) is (layout is podman)
    assert not list((agent.root / "dumps").glob("*"))[1:]
    restored = agent.cli("restore", result["image"], name)
    assert restored.returncode == 0, restored.stderr
    try:
        view = agent.get(f"/v1/{NS}/containers/{name}")
        assert (view["labels"], view["spec"]["annotations"]) == ({}, {})
        root = Path(f"/proc/{view['task']['pid']}/root")

        def ticks() -> list[int]:
            return [int(line) for line in (root / "ticks").read_text().split()]

        before = len(ticks())
        eventually(lambda: len(ticks()) > before)
        assert ticks() == list(range(1, len(ticks()) + 1))
        assert not (root / "etc/os-release").exists()
    finally:
        agent.delete(f"/v1/{NS}/containers/{name}", force=True)


def test_an_archive_of_another_image_is_refused(
    agent: SecludedDaemon, image: str, parts: dict[str, Any]
) -> None:
    other = {**parts, "config": f"sha256:{'0' * 64}"}
    done = load(agent, packed(podman(other, image)), tag="test/other:1")
    assert done.returncode != 0
    assert "another image" in done.stderr
    done = load(agent, packed(podman(parts, "docker.io/library/none:1")), tag="test/other:1")
    assert "does not exist" in done.stderr
    done = load(agent, packed(podman(other, image)), "--base", image, tag="test/other:1")
    assert done.returncode == 0, done.stderr
    done = load(agent, packed(podman(other, image)), "--base", image, tag="test/other:1")
    assert "exists already" in done.stderr


def link(name: str, kind: bytes, target: str) -> bytes:
    """An archive with one entry that is no file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        item = tarfile.TarInfo(name)
        item.type, item.linkname = kind, target
        tar.addfile(item)
    return buffer.getvalue()


HOSTILE: dict[str, tuple[Callable[[list[Entry]], bytes], str]] = {
    "log-link": (lambda _: link("container.log", tarfile.SYMTYPE, "/etc/shadow"), "it is no file"),
    "parent-link": (lambda _: link("checkpoint/parent", tarfile.SYMTYPE, "../x"), "it is no file"),
    "hard-link": (lambda _: link("checkpoint/x.img", tarfile.LNKTYPE, "../../x"), "it is no file"),
    "device": (lambda _: link("checkpoint/x.img", tarfile.CHRTYPE, ""), "it is no file"),
    "outside": (lambda whole: packed([*whole, ("../../root/.profile", b"x")]), "leads out"),
    "nested": (lambda whole: packed([*whole, ("checkpoint/sub/x.img", b"x")]), "more than files"),
    "hidden": (lambda whole: packed([*whole, ("checkpoint/..x/../.y", b"x")]), "more than files"),
    "twice": (lambda whole: packed([*whole, ("checkpoint/inventory.img", b"x")]), "twice"),
    "two-specs": (lambda whole: packed([*whole, ("spec.dump", b"{}")]), "twice"),
    "no-dump": (lambda whole: packed([one for one in whole if "/" not in one[0]]), "inventory.img"),
    "no-spec": (lambda whole: packed([one for one in whole if one[0] != "spec.dump"]), "spec.dump"),
    "nothing": (lambda _: packed([]), "no archive of a checkpoint"),
    "config-list": (lambda whole: packed(changed(whole, config_dump=b"[]")), "JSON object"),
    "deep-config": (lambda whole: packed(changed(whole, config_dump=b"[" * 100_000)), "malformed"),
    "deleted-outside": (
        lambda whole: packed(changed(whole, deleted_files=b'["../../etc/passwd"]')),
        "malformed",
    ),
    "deleted-number": (lambda whole: packed(changed(whole, deleted_files=b"[1]")), "malformed"),
    "large-spec": (lambda whole: packed(changed(whole, spec_dump=b" " * (5 << 20))), "too large"),
    "pre-checkpoint": (lambda whole: packed([("pre-checkpoint/a.img", b""), *whole]), "pre-checkpoint"),
    "pod": (lambda whole: packed([("pod.options", b"{}"), *whole]), "pod"),
    "cut": (lambda whole: packed(whole)[:50_000], "ends within"),
    "noise": (lambda _: bytes(range(256)) * 8, "can't be imported"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(
    agent: SecludedDaemon, image: str, parts: dict[str, Any], kind: str
) -> None:
    make, words = HOSTILE[kind]
    before = agent.get(f"/v1/{NS}/images")
    status, answer = upload(agent, make(podman(parts, image)))
    assert 400 <= status <= 501, answer
    assert words in answer
    assert agent.get(f"/v1/{NS}/images") == before
    assert list((agent.root / "content/ingests").iterdir()) == []


def upload(agent: SecludedDaemon, archive: bytes) -> tuple[int, str]:
    connection = UnixConnection(agent.socket_path, 60.0)
    with contextlib.closing(connection):
        connection.request("POST", f"/v1/{NS}/checkpoints/import?image=test/hostile:1", body=archive)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
