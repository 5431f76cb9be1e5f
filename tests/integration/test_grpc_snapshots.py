"""Snapshots, diff and mounts over gRPC: what no `ctr` command asks for."""

# ruff: noqa: ASYNC240 - the tests look at directories between calls; nothing else runs meanwhile

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import trio

from tricorn import wire
from tricorn.grpc import Code, open_channel
from tricorn_testing.daemon import Daemon, running_daemon
from tricorn_testing.grpc_client import GrpcClient, grpc_client, refused
from tricorn_testing.images import Layer, LayerBuilder

pytestmark = [pytest.mark.root, pytest.mark.integration]
SNAPSHOTS = "snapshots.v1.Snapshots"
DIFF = "diff.v1.Diff"
MOUNTS = "mounts.v1.Mounts"
TAR = "application/vnd.oci.image.layer.v1.tar"
GC_ROOT = {"containerd.io/gc.root": "test"}
MOUNT = wire.message("containerd.types.Mount")


@pytest.fixture(scope="module")
def agent() -> Iterator[Daemon]:
    with running_daemon("[gc]\nschedule = false\n") as running:
        yield running


@pytest.fixture
async def client(agent: Daemon, request: pytest.FixtureRequest) -> AsyncIterator[GrpcClient]:
    async with grpc_client(agent, f"n{abs(hash(request.node.name)) % 10**9}") as made:
        yield made


def killed_and_started(agent: Daemon) -> None:
    agent.kill()
    agent.start()


def fs_of(mounts: Any) -> Path:
    """Return where a snapshot's own files are."""
    for option in mounts[0].options:
        if option.startswith("upperdir="):
            return Path(option.partition("=")[2])
    return Path(mounts[0].source)


async def prepare(client: GrpcClient, key: str, parent: str = "", **more: Any) -> Any:
    fields = {"snapshotter": "overlayfs", "key": key, "parent": parent, "labels": GC_ROOT, **more}
    return (await client.call(SNAPSHOTS, "Prepare", **fields)).mounts


async def commit(client: GrpcClient, name: str, key: str, **more: Any) -> None:
    fields = {"snapshotter": "overlayfs", "name": name, "key": key, "labels": GC_ROOT, **more}
    await client.call(SNAPSHOTS, "Commit", **fields)


async def store(client: GrpcClient, layer: Layer) -> Any:
    """Put a layer into the content store; return its descriptor."""
    service = wire.package("containerd.services.content.v1")
    path = "/containerd.services.content.v1.Content/Write"
    async with client.channel.stream(path, service.WriteContentResponse, client._metadata, 60) as call:
        digest = layer.digest
        await call.send(
            service.WriteContentRequest(
                action=2, ref=digest, total=len(layer.blob), expected=digest, data=layer.blob,
                labels={"containerd.io/gc.root": "test"},
            ),
            end=True,
        )  # fmt: skip
        while await call.receive() is not None:
            pass
    kind = {"gzip": "+gzip", "zstd": "+zstd", "": ""}[layer.compression]
    return {"media_type": TAR + kind, "digest": digest, "size": len(layer.blob)}


async def apply(client: GrpcClient, layer: Layer, mounts: Any, **more: Any) -> Any:
    descriptor = await store(client, layer)
    return (await client.call(DIFF, "Apply", diff=descriptor, mounts=mounts, **more)).applied


# ------------------------------------------------------------------ apply
async def test_apply_returns_the_uncompressed_layer(client):
    mounts = await prepare(client, "a")
    layer = LayerBuilder().file("f", "x" * 1000).whiteout("nothing").layer("gzip")
    applied = await apply(client, layer, mounts, sync_fs=True)
    assert (applied.media_type, applied.digest, applied.size) == (TAR, layer.diff_id, len(layer.tar))
    assert os.listdir(fs_of(mounts)) == ["f"]  # nothing below: nothing to mark


async def test_apply_to_an_overlay_writes_marks_and_completes_directories(client):
    base = await prepare(client, "base")
    await apply(client, LayerBuilder().directory("d", mode=0o711, uid=5).file("d/gone", "x").layer(), base)
    await commit(client, "lower", "base")
    mounts = await prepare(client, "top", "lower")
    assert mounts[0].type == "overlay"
    await apply(client, LayerBuilder().file("d/new", "y").whiteout("d/gone").layer("zstd"), mounts)
    upper = fs_of(mounts)
    assert (upper / "d/gone").is_char_device()
    status = (upper / "d").stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o711, 5)


async def test_apply_elsewhere_mounts_for_the_time_being(client, agent, tmp_path):
    options = ["size=1m", "mode=755"]
    mounts = [MOUNT(type="tmpfs", source="tmpfs", options=options)]
    layer = LayerBuilder().file("f", "x").layer()
    assert (await apply(client, layer, mounts)).digest == layer.diff_id
    other = LayerBuilder().file("g", "x").layer()
    with refused(Code.FAILED_PRECONDITION, "read-only"):
        await apply(client, other, [MOUNT(type="bind", source=str(tmp_path), options=["ro", "bind"])])
    big = LayerBuilder().file("f", os.urandom(2_000_000)).layer("")
    with refused(Code.RESOURCE_EXHAUSTED):
        await apply(client, big, mounts)
    assert not list(agent.state.glob("mounts/*"))
    assert str(agent.state / "mounts") not in Path("/proc/self/mountinfo").read_text()


async def test_what_apply_refuses(client, tmp_path):
    layer = LayerBuilder().file("f", "x").layer()
    descriptor = await store(client, layer)
    bind = [MOUNT(type="bind", source=str(tmp_path), options=["rw", "rbind"])]
    for change, mounts, code in (
        ({"media_type": "application/x-unknown"}, bind, Code.UNIMPLEMENTED),
        ({"digest": "sha256:" + "0" * 64}, bind, Code.NOT_FOUND),
        ({"digest": "nonsense"}, bind, Code.INVALID_ARGUMENT),
        ({}, [], Code.INVALID_ARGUMENT),
        ({}, [MOUNT(type="bind", source="relative", options=["rbind"])], Code.INVALID_ARGUMENT),
        ({}, [MOUNT(type="bind", source="/a/../b", options=["rbind"])], Code.INVALID_ARGUMENT),
        ({}, [MOUNT(type="format/overlay", source="x")], Code.UNIMPLEMENTED),
        ({}, [MOUNT(type="bind", source=str(tmp_path / "none"), options=["rbind"])], Code.NOT_FOUND),
    ):
        with refused(code):
            await client.call(DIFF, "Apply", diff={**descriptor, **change}, mounts=mounts)
    hostile = LayerBuilder().file("../escape", "x").layer()
    with refused(Code.INVALID_ARGUMENT, "escape"):
        await apply(client, hostile, bind)
    assert os.listdir(tmp_path) == []


async def test_layers_are_put_on_their_parent_afterwards(client):
    """Parallel unpacking: each layer without a parent, in overlay's form, the parent at the commit."""
    base = await prepare(client, "extract-1")
    top = await prepare(client, "extract-2")
    as_overlay = [MOUNT(type="overlay", source="overlay", options=[f"upperdir={fs_of(top)}"])]
    await apply(client, LayerBuilder().file("d/new", "y").whiteout("d/gone").layer(), as_overlay)
    await apply(client, LayerBuilder().directory("d", mode=0o700).file("d/gone", "x").layer(), base)
    await commit(client, "one", "extract-1")
    await commit(client, "two", "extract-2", parent="one")
    assert (fs_of(top) / "d").stat().st_mode & 0o777 == 0o700
    info = (await client.call(SNAPSHOTS, "Stat", snapshotter="overlayfs", key="two")).info
    assert (info.parent, info.kind) == ("one", 3)
    shown = (await client.call(SNAPSHOTS, "View", snapshotter="overlayfs", key="v", parent="two")).mounts
    made = await client.call(DIFF, "Diff", left=[], right=shown, media_type=TAR)
    assert names(await read(client, made.diff.digest)) == ["d", "d/new"]


# ------------------------------------------------------------------ diff
async def read(client: GrpcClient, digest: str) -> bytes:
    parts = await client.stream("content.v1.Content", "Read", digest=digest)
    return b"".join(part.data for part in parts)


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=BytesIO(archive)) as file:
        return file.getnames()


async def test_a_diff_is_stored_with_its_labels(client):
    mounts = await prepare(client, "a")
    (fs_of(mounts) / "f").write_text("x")
    fields = {"left": [], "right": mounts, "labels": {"k": "v"}, "ref": "mine"}
    made = (await client.call(DIFF, "Diff", **fields)).diff
    assert made.media_type == TAR + "+gzip"
    data = await read(client, made.digest)
    assert len(data) == made.size
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == made.digest
    labels = (await client.call("content.v1.Content", "Info", digest=made.digest)).info.labels
    plain = (await client.call(DIFF, "Diff", **{**fields, "media_type": TAR})).diff
    assert dict(labels) == {"k": "v", "containerd.io/uncompressed": plain.digest}
    assert names(await read(client, plain.digest)) == ["f"]
    # The same again is the same blob, which gets what labels it lacks
    again = (await client.call(DIFF, "Diff", **{**fields, "labels": {"k": "w", "new": "1"}})).diff
    assert again.digest == made.digest
    labels = (await client.call("content.v1.Content", "Info", digest=made.digest)).info.labels
    assert (labels["k"], labels["new"]) == ("v", "1")
    assert (await client.call("content.v1.Content", "ListStatuses")).statuses == []


async def test_a_diff_that_fails_leaves_nothing(client, tmp_path):
    mounts = await prepare(client, "a")
    with refused(Code.UNIMPLEMENTED):
        await client.call(DIFF, "Diff", right=mounts, media_type="text/plain")
    missing = [MOUNT(type="bind", source=str(tmp_path / "none"), options=["rbind"])]
    with refused(Code.NOT_FOUND):
        await client.call(DIFF, "Diff", left=missing, right=mounts, ref="mine")
    assert (await client.call("content.v1.Content", "ListStatuses")).statuses == []
    (fs_of(mounts) / "big").write_bytes(bytes(200 << 20))
    with trio.move_on_after(0.3):
        await client.call(DIFF, "Diff", right=mounts, ref="mine", media_type=TAR)
    with trio.fail_after(60):
        while (await client.call("content.v1.Content", "ListStatuses")).statuses:  # noqa: ASYNC110 - the agent's
            await trio.sleep(0.05)


async def test_times_of_a_diff_are_bounded(client):
    mounts = await prepare(client, "a")
    (fs_of(mounts) / "f").write_text("x")
    epoch = wire.message("google.protobuf.Timestamp")(seconds=1000)
    made = (await client.call(DIFF, "Diff", right=mounts, media_type=TAR, source_date_epoch=epoch)).diff
    with tarfile.open(fileobj=BytesIO(await read(client, made.digest))) as file:
        assert [item.mtime for item in file] == [1000]


# ------------------------------------------------------------------ snapshots
async def test_a_collection_spares_foreign_snapshots(client, agent):
    """A containerd that keeps its layers here collects by itself, and calls without a namespace then."""
    made = (await client.call(SNAPSHOTS, "Prepare", snapshotter="tricorn", key="default/1/k")).mounts
    assert made[0].type == "bind"
    await trio.to_thread.run_sync(agent.post, "/v1/gc")
    async with open_channel(agent.socket_path) as channel:
        messages = wire.package("containerd.services.snapshots.v1")
        empty = wire.message("google.protobuf.Empty")
        prefix = "/containerd.services.snapshots.v1.Snapshots"
        request = messages.StatSnapshotRequest(snapshotter="tricorn", key="default/1/k")
        stat = await channel.unary(f"{prefix}/Stat", request, messages.StatSnapshotResponse, [], 60)
        assert dict(stat.info.labels) == {}
        for method, asked in (
            ("Cleanup", messages.CleanupRequest(snapshotter="tricorn")),
            ("Remove", messages.RemoveSnapshotRequest(snapshotter="tricorn", key="default/1/k")),
        ):
            await channel.unary(f"{prefix}/{method}", asked, empty, [], 60)
        with refused(Code.FAILED_PRECONDITION, "namespace"):
            request = messages.StatSnapshotRequest(snapshotter="overlayfs", key="k")
            await channel.unary(f"{prefix}/Stat", request, messages.StatSnapshotResponse, [], 60)


async def test_events_tell_of_snapshots(client, agent):
    await prepare(client, "k")
    await client.call(SNAPSHOTS, "View", snapshotter="overlayfs", key="v", labels=GC_ROOT)
    await commit(client, "c", "k")
    await client.call(SNAPSHOTS, "Remove", snapshotter="overlayfs", key="c")
    items = await trio.to_thread.run_sync(agent.get, f"/v1/{client.namespace}/events")
    told = [(item["topic"], item["event"].get("key")) for item in items["items"]]
    topics = [item for item in told if item[0].startswith("/snapshot/")]
    assert topics == [("/snapshot/prepare", "k"), ("/snapshot/commit", "k"), ("/snapshot/remove", "c")]


async def test_cleanup_removes_what_no_record_names(client, agent):
    orphan = agent.root / "snapshots/overlayfs/snapshots/0123456789abcdef0123"
    (orphan / "fs").mkdir(parents=True)
    await client.call(SNAPSHOTS, "Cleanup", snapshotter="overlayfs")
    assert not orphan.exists()


async def test_many_snapshots_come_in_parts(client):
    for number in range(101):
        await prepare(client, f"k{number:03}")
    parts = await client.stream(SNAPSHOTS, "List", snapshotter="overlayfs")
    assert [len(part.info) for part in parts] == [100, 1]
    picked = await client.stream(SNAPSHOTS, "List", snapshotter="overlayfs", filters=["name==k007"])
    assert [info.name for part in picked for info in part.info] == ["k007"]


# ------------------------------------------------------------------ mounts
async def test_an_activation_lives_until_it_is_ended(client, agent):
    mounts = [MOUNT(type="tmpfs", source="tmpfs", options=["size=64k", "mode=700"])]
    with refused(Code.UNIMPLEMENTED):
        await client.call(MOUNTS, "Activate", name="m", mounts=mounts)
    fields = {"name": "m", "mounts": mounts, "temporary": True, "labels": {"a": "1"}}
    made = (await client.call(MOUNTS, "Activate", **fields)).info
    point = Path(made.active[0].mount_point)
    assert made.system == [MOUNT(type="bind", source=str(point), options=["rbind"])]
    (point / "f").write_text("x")
    with refused(Code.ALREADY_EXISTS):
        await client.call(MOUNTS, "Activate", **fields)
    update = {"info": {"name": "m", "labels": {"b": "2"}}, "update_mask": {"paths": ["labels.b"]}}
    changed = (await client.call(MOUNTS, "Update", **update)).info
    assert dict(changed.labels) == {"a": "1", "b": "2"}

    await trio.to_thread.run_sync(killed_and_started, agent)
    async with grpc_client(agent, client.namespace) as second:
        assert (await second.call(MOUNTS, "Info", name="m")).info == changed
        assert (point / "f").read_text() == "x"
        listed = await second.stream(MOUNTS, "List", filters=["labels.b==2"])
        assert [item.info.name for item in listed] == ["m"]
        assert await second.stream(MOUNTS, "List", filters=["labels.b==3"]) == []
        in_use = os.open(point / "f", os.O_RDONLY)
        with refused(Code.FAILED_PRECONDITION):
            await second.call(MOUNTS, "Deactivate", name="m")
        os.close(in_use)
        await second.call(MOUNTS, "Deactivate", name="m")
        with refused(Code.NOT_FOUND):
            await second.call(MOUNTS, "Info", name="m")
    assert not point.parent.exists()


async def test_an_activation_ends_with_its_lease(client, agent):
    await client.call("leases.v1.Leases", "Create", id="l")
    mounts = [MOUNT(type="tmpfs", source="tmpfs", options=["size=64k"])]
    request = wire.package("containerd.services.mounts.v1").ActivateRequest(
        name="m", mounts=mounts, temporary=True
    )
    metadata = [*client._metadata, ("containerd-lease", "l")]
    answer = wire.package("containerd.services.mounts.v1").ActivateResponse
    path = "/containerd.services.mounts.v1.Mounts/Activate"
    made = (await client.channel.unary(path, request, answer, metadata, 60)).info
    await trio.to_thread.run_sync(agent.post, "/v1/gc")
    assert Path(made.active[0].mount_point).exists()
    await client.call("leases.v1.Leases", "Delete", id="l")
    await trio.to_thread.run_sync(agent.post, "/v1/gc")
    assert not Path(made.active[0].mount_point).exists()
    with refused(Code.NOT_FOUND):
        await client.call(MOUNTS, "Deactivate", name="m")


async def test_an_activation_lasts_as_long_as_what_its_labels_tie_it_to(client, agent):
    """It keeps what its own labels name, and goes with the image that a back reference names."""
    await prepare(client, "k")
    await commit(client, "below", "k")
    labels = {
        "containerd.io/gc.bref.image": "of-the-mount",
        "containerd.io/gc.ref.snapshot.overlayfs": "below",
    }
    target = {"digest": f"sha256:{'1' * 64}", "size": 1, "media_type": "application/octet-stream"}
    await client.call("images.v1.Images", "Create", image={"name": "of-the-mount", "target": target})
    mounts = [MOUNT(type="tmpfs", source="tmpfs", options=["size=64k"])]
    fields = {"name": "tied", "mounts": mounts, "temporary": True, "labels": labels}
    point = Path((await client.call(MOUNTS, "Activate", **fields)).info.active[0].mount_point)
    update = {"info": {"name": "below", "labels": {}}, "update_mask": {"paths": ["labels"]}}
    await client.call(SNAPSHOTS, "Update", snapshotter="overlayfs", **update)
    await trio.to_thread.run_sync(agent.post, "/v1/gc")
    assert point.exists()
    assert (await client.call(SNAPSHOTS, "Stat", snapshotter="overlayfs", key="below")).info.name == "below"
    explain = partial(agent.get, f"/v1/{client.namespace}/gc/explain", object="mount/tied")
    told = await trio.to_thread.run_sync(explain)
    assert [keeper["object"] for keeper in told["keepers"]] == ["image/of-the-mount"]
    await client.call("images.v1.Images", "Delete", name="of-the-mount", sync=True)
    assert not point.exists()
    with refused(Code.NOT_FOUND):
        await client.call(MOUNTS, "Info", name="tied")
    await trio.to_thread.run_sync(agent.post, "/v1/gc")
    with refused(Code.NOT_FOUND):
        await client.call(SNAPSHOTS, "Stat", snapshotter="overlayfs", key="below")


async def test_a_half_made_activation_is_taken_down_at_the_start(client, agent):
    half = agent.state / "mounts/half"
    (half / "1").mkdir(parents=True)
    record = {"namespace": "n", "name": "m", "complete": False}
    (half / "activation.json").write_text(json.dumps(record))
    await trio.run_process(["mount", "-t", "tmpfs", "tmpfs", str(half / "1")])
    await trio.to_thread.run_sync(killed_and_started, agent)
    assert not half.exists()
