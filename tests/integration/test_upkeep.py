"""Upkeep of a node by a real agent: blobs damaged on disk and fetched again from a real registry, budgets on
both doors, leases and explanations on the command line, namespaces that share nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen

from tricorn.client import Client
from tricorn.grpc import Code
from tricorn.model.ids import Digest
from tricorn.model.records import LeaseResource
from tricorn_testing.content_client import STAT, content_client, refused
from tricorn_testing.daemon import ApiError, Daemon, running_daemon
from tricorn_testing.grpc_client import grpc_client
from tricorn_testing.images import ImageLayout, LayerBuilder
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.integration]
CONFIG = """\
[registry]
hosts_dir = "{hosts}"
[gc]
schedule = false
[content]
sharing = "isolated"
[scrub]
refetch = {refetch}
[[budgets]]
namespaces = ["small-*"]
bytes = 1000000
images = 1
containers = 0
"""


@frozen
class Pushed:
    """An image in the registry, and where its parts are."""

    reference: str
    manifest: str
    config: str
    layer: str


def pushed(registry: Registry, directory: Path, name: str) -> Pushed:
    layout = ImageLayout(directory / "layout")
    layer = LayerBuilder().file("data", os.urandom(2 << 20)).layer("gzip")
    digest = layout.tag("it", layout.add_image([layer], {"Cmd": [name]}))
    manifest = layout.document(digest)
    reference = registry.push(layout, "it", f"upkeep/{name}:1")
    return Pushed(reference, digest, manifest["config"]["digest"], manifest["layers"][0]["digest"])


@pytest.fixture(scope="module")
def image(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    return pushed(registry, tmp_path_factory.mktemp("upkeep"), "data")


@pytest.fixture(scope="module")
def agent(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One that finds its registry by hosts.toml: what it fetches by itself needs no request's word for it."""
    hosts = tmp_path_factory.mktemp("hosts")
    (hosts / registry.address).mkdir()
    (hosts / registry.address / "hosts.toml").write_text(f'server = "http://{registry.address}"\n')
    with running_daemon(CONFIG.format(hosts=hosts, refetch="true")) as running:
        yield running


def blob(agent: Daemon, digest: str) -> Path:
    return agent.root / "content/blobs" / digest.replace(":", "/")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def said(done: subprocess.CompletedProcess[str], status: int = 0) -> str:
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_damaged_blobs_come_back_from_the_registry(agent: Daemon, image: Pushed) -> None:
    agent.put("/v1/scrub/images", {"reference": image.reference})
    good = {
        digest: blob(agent, digest).read_bytes() for digest in (image.layer, image.config, image.manifest)
    }
    flip(blob(agent, image.layer))
    flip(blob(agent, image.config))
    blob(agent, image.manifest).unlink()
    orphan = blob(agent, "sha256:" + "0" * 64)
    orphan.write_bytes(b"orphan")
    done = agent.cli("content", "scrub", "--now", "--json")
    report = json.loads(said(done, 1))
    assert {item["digest"] for item in report["damaged"]} == set(good)
    assert set(report["restored"]) == set(good)
    assert [item["digest"] for item in report["orphans"]] == ["sha256:" + "0" * 64]
    assert not orphan.exists()
    assert {digest: blob(agent, digest).read_bytes() for digest in good} == good
    assert "complete" in said(agent.cli("-n", "scrub", "image", "check"))
    assert "2 never" not in said(agent.cli("content", "scrub"))
    listed = json.loads(said(agent.cli("content", "quarantine", "ls", "--json")))
    assert {item["digest"]: item["restored"] for item in listed} == dict.fromkeys(good, True)
    said(agent.cli("content", "quarantine", "rm", *good))
    assert said(agent.cli("content", "scrub", "--now")).endswith("0 damaged, 0 without a record\n")
    info = json.loads(said(agent.cli("-n", "scrub", "content", "inspect", image.layer)))
    assert info["checked_at"]
    assert any(key.startswith("containerd.io/distribution.source.") for key in info["labels"])
    topics = [event["topic"] for event in agent.get("/v1/scrub/events")["items"]]
    assert topics.count("/content/quarantine") == 3
    assert "content quarantined" in agent.log
    assert agent.get("/v1/info")["statistics"]["scrub"]["damaged"] == 3


def test_what_has_no_source_is_shown_as_incomplete(agent: Daemon, registry: Registry, tmp_path: Path) -> None:
    """What a node can't bring back by itself: it isn't served, `image check` names it, a pull brings it."""
    ns, image = "/v1/broken", pushed(registry, tmp_path, "broken")
    agent.put(f"{ns}/images", {"reference": image.reference})
    source = f"containerd.io/distribution.source.{image.reference.partition('/')[0]}"

    async def forget_the_source(digest: str) -> None:
        async with grpc_client(agent, "broken") as client:
            info = {"digest": digest, "labels": {}}
            mask = {"paths": [f"labels.{source}"]}
            await client.call("content.v1.Content", "Update", info=info, update_mask=mask)

    trio.run(forget_the_source, image.layer)
    flip(blob(agent, image.layer))
    report = agent.post("/v1/content/scrub", namespace="broken")
    assert [item["digest"] for item in report["damaged"]] == [image.layer]
    assert report["restored"] == []
    assert "nobody knows where" in report["failed"][0]
    (checked,) = agent.get(f"{ns}/image-check")["items"]
    assert [(item["digest"], item["state"]) for item in checked["missing"]] == [(image.layer, "quarantined")]
    with pytest.raises(ApiError) as caught:
        agent.get(f"{ns}/content/{image.layer}/data")
    assert caught.value.status == 404
    with pytest.raises(ApiError) as caught:
        agent.delete(f"/v1/content/quarantine/{image.layer}")
    assert caught.value.status == 412
    agent.post("/v1/gc")
    assert {item["digest"] for item in agent.get(f"{ns}/content")["items"]} == {image.config, image.manifest}
    agent.put(f"{ns}/images", {"reference": image.reference})
    (checked,) = agent.get(f"{ns}/image-check")["items"]
    assert checked["complete"]
    trio.run(forget_the_source, image.manifest)
    flip(blob(agent, image.manifest))
    agent.post("/v1/content/scrub", namespace="broken")
    agent.put(f"{ns}/images", {"reference": image.reference})  # though the agent remembers the document
    (checked,) = agent.get(f"{ns}/image-check")["items"]
    assert checked["complete"]
    for digest in (image.layer, image.manifest):
        agent.delete(f"/v1/content/quarantine/{digest}")


def test_budgets_hold_on_both_doors(agent: Daemon, image: Pushed) -> None:
    with pytest.raises(ApiError) as caught:
        agent.put("/v1/small-a/images", {"reference": image.reference})
    assert caught.value.problem["code"] == "ResourceExhausted"
    assert "tricorn namespace budget small-a" in caught.value.problem["hint"]
    transferred = [item for item in agent.get("/v1/small-a/content")["items"] if item["size"] > 100_000]
    assert transferred == []
    with pytest.raises(ApiError) as caught:
        agent.put("/v1/small-a/containers/c", {"image": image.reference})
    assert "may not have more containers" in caught.value.problem["what"]

    async def write_over_grpc() -> None:
        async with content_client(agent, "small-b") as client:
            with refused(Code.RESOURCE_EXHAUSTED, "has no room for"):
                await client.put(os.urandom(1_000_001))

    trio.run(write_over_grpc)


def test_usage_and_budgets_on_the_command_line(agent: Daemon, image: Pushed) -> None:
    agent.put("/v1/used/images", {"reference": image.reference})
    usage = json.loads(said(agent.cli("namespace", "usage", "used", "--active", "--json")))[0]
    assert usage["content"] == usage["content_own"] + usage["content_shared"] > 2 << 20
    assert usage["snapshots"] >= 2 << 20
    assert (usage["images"], usage["containers"], usage["blobs"]) == (1, 0, 3)
    assert "used" in said(agent.cli("namespace", "usage"))
    assert said(agent.cli("namespace", "budget", "used", "--bytes", "3m", "--images", "1")) == (
        "bytes=3.0 MiB,images=1\n"
    )
    refused = agent.cli("-n", "used", "image", "pull", image.reference.replace("data:1", "none:1"))
    assert refused.returncode != 0
    done = agent.cli("-n", "used", "image", "tag", image.reference, "x.example/y:1")
    assert done.returncode == 7
    assert "may not have more images" in done.stderr
    assert said(agent.cli("namespace", "budget", "used", "--bytes", "none", "--images", "none")) == "-\n"
    assert agent.cli("namespace", "label", "used", "tricorn.budget/bytes=lots").returncode == 2


def test_isolated_namespaces_get_no_blob_by_its_name(agent: Daemon, image: Pushed) -> None:
    agent.put("/v1/owner/images", {"reference": image.reference})

    async def write_in(namespace: str) -> int:
        async with (
            content_client(agent, namespace) as client,
            client.writing("r", expected=image.layer) as writer,
        ):
            return int((await writer.ask(STAT)).offset)

    assert trio.run(write_in, "stranger") == 0
    agent.request("PATCH", "/v1/namespaces/owner", {"labels": {"containerd.io/namespace.shareable": "true"}})
    size = blob(agent, image.layer).stat().st_size
    assert trio.run(write_in, "stranger-2") == size


def test_leases_and_explanations_on_the_command_line(agent: Daemon, image: Pushed) -> None:
    agent.put("/v1/leased/images", {"reference": image.reference})

    def run(*arguments: str, status: int = 0) -> Any:
        return said(agent.cli("-n", "leased", *arguments), status)

    assert run("lease", "create", "--id", "l", "--expires", "1h", "-l", "owner=ci", "--flat") == "l\n"
    (lease,) = json.loads(run("lease", "ls", "--json"))
    assert lease["labels"]["owner"] == "ci"
    assert "containerd.io/gc.expire" in lease["labels"]
    layer, kept = f"content/{image.layer}", f"snapshot/overlayfs/{'sha256:' + '1' * 64}"
    run("lease", "add", "l", layer, f"image/{image.reference}", kept)
    run("lease", "drop", "l", kept)
    assert json.loads(run("lease", "resources", "l", "--json")) == [
        {"type": "content", "id": image.layer}, {"type": "images", "id": image.reference},
    ]  # fmt: skip
    assert agent.cli("-n", "leased", "lease", "add", "l", "pod/x").returncode == 2
    told = json.loads(run("gc", "explain", layer, "--json"))
    assert {item["object"] for item in told["keepers"]} == {f"image/{image.reference}", "lease/l"}
    assert told["until"] is None
    run("image", "rm", image.reference)
    told = json.loads(run("gc", "explain", layer, "--json"))
    assert told["until"] == lease["labels"]["containerd.io/gc.expire"].replace("+00:00", "Z")
    assert "it goes after" in run("gc", "explain", layer)
    assert agent.cli("-n", "leased", "gc", "explain", "lease/none").returncode == 4
    run("lease", "rm", "--sync", "l")
    assert agent.get("/v1/leased/content")["items"] == []


async def test_the_python_client(agent: Daemon, image: Pushed) -> None:
    await trio.to_thread.run_sync(agent.put, "/v1/client/images", {"reference": image.reference})
    async with Client(agent.socket_path, namespace="client") as client:
        lease = await client.leases.create("l")
        await client.leases.add(lease.id, LeaseResource("content", image.layer))
        assert await client.leases.resources(lease.id) == [LeaseResource("content", image.layer)]
        await client.leases.drop(lease.id, LeaseResource("content", image.layer))
        assert (await client.leases.get(lease.id)).id == "l"
        await client.leases.delete(lease.id, sync=True)
        async with client.scrub.work(namespace="client") as work:
            phases = {step.phase async for step in work}
            report = work.result
        assert phases
        assert (report.checked, report.damaged) == (3, ())
        assert (await client.scrub.check(image.layer)).checked_at is not None
        assert await client.scrub.quarantine() == []
        assert (await client.scrub.status()).refetch
        usage = await client.namespaces.usage("client")
        assert usage.images == 1
        told = await client.explain(f"content/{image.layer}")
        assert told.keepers[0].object == f"image/{image.reference}"
        assert Digest.parse(image.layer) in {info.digest for info in await client.content.list()}
