"""What a node serves of its content: what an image in a served namespace consists of, and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tricorn import limits
from tricorn.errors import InvalidArgument, NotFound, Unavailable
from tricorn.model.checkpoints import DUMP
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.registry.turns import Turns
from tricorn.rules.chains import source_label
from tricorn.rules.hosts import RegistryHost, plan_hosts
from tricorn.rules.peers import Grant, Identity, PeerRule, goes_first
from tricorn.rules.referrers import referrer_label
from tricorn.service.bringing import Bringing
from tricorn.service.peers import PeerService
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

REPOSITORY = "r.example/team/app"
HERE, PEER = Identity(frozenset({"dns:here"})), Identity(frozenset({"dns:peer"}))
UPSTREAM = plan_hosts("r.example").hosts[0]


class Node:
    def __init__(self, db: Database, content: ContentStore) -> None:
        self.db = db
        self.content = content
        self.turns = Turns()
        self.coming = Bringing()
        grant = Grant(("default",), ("r.example/**",), (PeerRule(("peer",), ("r.example/team/*",)),))
        self.service = PeerService(db, content, self.coming, self.turns, grant)
        self.service.this = HERE

    async def add(self, data: bytes, media_type: str, namespace: str = "default") -> Descriptor:
        digest = Digest.of(data)
        async with self.content.writer(
            namespace, f"ref-{digest}", total=len(data), expected=digest
        ) as writer:
            await writer.write(data)
            await writer.commit(size=len(data), expected=digest)
        return Descriptor(media_type, digest, len(data))

    async def image(
        self, seed: str, *, namespace: str = "default", **fields: Any
    ) -> tuple[Descriptor, Descriptor]:
        """Store an image; return its manifest and its layer."""
        config = await self.add(json.dumps({"seed": seed}).encode(), OCI_CONFIG, namespace)
        layer = await self.add(f"layer {seed}".encode(), OCI_LAYER, namespace)
        document = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": _raw(config), "layers": [_raw(layer)], **fields,
        }  # fmt: skip
        return await self.add(json.dumps(document).encode(), OCI_MANIFEST, namespace), layer

    async def name(self, name: str, target: Descriptor, namespace: str = "default") -> None:
        await self.db.write(lambda tx: tx.images.put(namespace, Image(name, target)))

    async def served(self, digest: str, repository: str = REPOSITORY, peer: Identity = PEER) -> bool:
        try:
            await self.service.blob(peer, repository, digest)
        except NotFound:
            return False
        return True


def _raw(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    clock = HandClock()
    async with Database.open(str(tmp_path / "db" / "t.db"), clock) as db:
        yield Node(db, ContentStore(str(tmp_path / "content"), db, clock))


async def test_what_an_image_consists_of_is_served_under_its_repository_only(node: Node) -> None:
    manifest, layer = await node.image("one")
    assert not await node.served(layer.digest)  # in the namespace, and of no image
    await node.name(f"{REPOSITORY}:1", manifest)
    for descriptor in (manifest, layer):
        assert await node.served(descriptor.digest)
        assert not await node.served(descriptor.digest, "r.example/team/other")
        assert not await node.served(descriptor.digest, peer=Identity(frozenset({"dns:stranger"})))
    served, data = await node.service.manifest(PEER, REPOSITORY, "1")
    assert (served.digest, served.media_type) == (manifest.digest, OCI_MANIFEST)
    assert (await node.service.manifest(PEER, REPOSITORY, str(manifest.digest)))[1] == data
    assert await node.service.tags(PEER, REPOSITORY) == ["1"]
    with pytest.raises(NotFound):
        await node.service.manifest(PEER, REPOSITORY, str(layer.digest))
    with pytest.raises(NotFound):
        await node.service.manifest(PEER, REPOSITORY, "2")
    with pytest.raises(InvalidArgument):
        await node.service.blob(PEER, REPOSITORY, "sha256:../../etc/passwd")


async def test_other_namespaces_and_repositories_beyond_the_grant_are_not_there(node: Node) -> None:
    manifest, layer = await node.image("hidden", namespace="private")
    await node.name(f"{REPOSITORY}:1", manifest, "private")
    assert not await node.served(layer.digest)
    with pytest.raises(NotFound):
        await node.service.manifest(PEER, REPOSITORY, "1")
    manifest, layer = await node.image("beyond")
    await node.name("r.example/other/app:1", manifest)
    assert not await node.served(layer.digest, "r.example/other/app")
    with pytest.raises(NotFound):
        await node.service.tags(PEER, "r.example/other/app")


async def test_a_blob_in_another_namespace_is_not_served_for_an_image_that_lacks_it_here(node: Node) -> None:
    manifest, layer = await node.image("shared", namespace="private")
    data = await node.content.read("private", manifest.digest, limit=limits.MANIFEST_SIZE)
    await node.content.delete("private", manifest.digest)
    assert (await node.add(data, OCI_MANIFEST)).digest == manifest.digest
    await node.name(f"{REPOSITORY}:1", manifest)
    assert await node.served(manifest.digest)
    assert not await node.served(layer.digest)


async def test_checkpoints_are_not_served_nor_anything_with_them(node: Node) -> None:
    manifest, layer = await node.image("inner")
    dump = await node.add(b"memory", "application/vnd.containerd.container.criu.checkpoint.criu.tar")
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_raw(dump), _raw(manifest)]}
    checkpoint = await node.add(json.dumps(index).encode(), OCI_INDEX)
    await node.name(f"{REPOSITORY}:dump", checkpoint)
    for descriptor in (checkpoint, dump, manifest, layer):
        assert not await node.served(descriptor.digest)
    with pytest.raises(NotFound):
        await node.service.manifest(PEER, REPOSITORY, "dump")
    noted, layer = await node.image("noted", annotations={"org.criu.checkpoint.container.name": "web"})
    await node.name(f"{REPOSITORY}:noted", noted)
    assert not await node.served(layer.digest)


async def test_blobs_of_unknown_kinds_are_not_served(node: Node) -> None:
    strange = await node.add(b"attested", "application/vnd.in-toto+json")
    manifest, layer = await node.image("strange", layers=[_raw(strange)])
    await node.name(f"{REPOSITORY}:1", manifest)
    assert await node.served(manifest.digest)
    assert not await node.served(strange.digest)
    assert not await node.served(layer.digest)


async def test_a_malformed_document_leads_nowhere(node: Node) -> None:
    broken = await node.add(b'{"manifests": 3}', OCI_INDEX)
    await node.name(f"{REPOSITORY}:1", broken)
    assert await node.served(broken.digest)
    assert not await node.served(Digest.of(b"anything"))


# ---------------------------------------------------------------- blobs on their way
async def _coming(node: Node, peer_first: bool) -> tuple[Descriptor, Descriptor]:
    """Return an image of which only the manifest is here, and its layer, for which one side has precedence."""
    number = 0
    while True:
        layer = Descriptor(OCI_LAYER, Digest.of(f"layer {number}".encode()), len(f"layer {number}"))
        if goes_first(layer.digest, PEER, HERE) is peer_first:
            break
        number += 1
    config = Descriptor(OCI_CONFIG, Digest.of(b"{}"), 2)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _raw(config),
        "layers": [_raw(layer)],
    }
    return await node.add(json.dumps(document).encode(), OCI_MANIFEST), layer


async def test_a_peer_waits_for_the_node_that_has_precedence(node: Node) -> None:
    manifest, layer = await _coming(node, peer_first=False)
    data = next(
        f"layer {n}".encode() for n in range(1000) if Digest.of(f"layer {n}".encode()) == layer.digest
    )
    served: list[str] = []

    async def ask() -> None:
        found = await node.service.blob(PEER, REPOSITORY, str(layer.digest))
        served.append(found.path)

    async with trio.open_nursery() as nursery:
        with node.coming.target("default", REPOSITORY, manifest):
            async with node.turns.bringing(layer.digest):
                nursery.start_soon(ask)
                with trio.fail_after(30):
                    while not node.service.figures.waiting:  # noqa: ASYNC110 - a figure has no event
                        await trio.sleep(0.01)
                await node.add(data, OCI_LAYER)
                assert not served
            await node.name(f"{REPOSITORY}:1", manifest)
    assert Path(served[0]).read_bytes() == data  # noqa: ASYNC240 - a test may look at the disk


async def test_a_peer_with_precedence_is_sent_away_unless_the_blob_comes_already(node: Node) -> None:
    manifest, layer = await _coming(node, peer_first=True)
    with node.coming.target("default", REPOSITORY, manifest):
        async with node.turns.bringing(layer.digest):
            assert not await node.served(layer.digest)
            assert node.service.figures.waited == 0

            async def attempt(_: RegistryHost) -> None:
                with trio.move_on_after(0.5):
                    assert not await node.served(layer.digest)
                assert node.service.figures.waited == 1

            with node.turns.taking(layer.digest, attempt) as take:
                await take(UPSTREAM)


async def test_what_comes_for_another_repository_is_not_waited_for(node: Node) -> None:
    manifest, layer = await _coming(node, peer_first=False)
    with node.coming.target("default", "r.example/team/other", manifest):
        async with node.turns.bringing(layer.digest):
            assert not await node.served(layer.digest)
    with node.coming.target("private", REPOSITORY, manifest):
        async with node.turns.bringing(layer.digest):
            assert not await node.served(layer.digest)
    assert node.service.figures.waited == 0


async def test_waiting_is_bounded_and_tells_how_far_it_is(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PEER_HOLD", 0.2)
    manifest, layer = await _coming(node, peer_first=False)
    with node.coming.target("default", REPOSITORY, manifest):
        async with (
            node.turns.bringing(layer.digest),
            node.content.writer("default", f"layer-{layer.digest}", total=layer.size) as writer,
        ):
            await writer.write(b"lay")
            with pytest.raises(Unavailable) as caught:
                await node.service.blob(PEER, REPOSITORY, str(layer.digest))
    assert caught.value.details == {"bringing": 3}
    assert node.service.figures.waiting == 0


async def test_what_refers_to_an_image_is_told_of_and_served_if_it_is_of_the_repository(node: Node) -> None:
    manifest, _ = await node.image("one")
    await node.name(f"{REPOSITORY}:1", manifest)
    with pytest.raises(NotFound):  # others may know more
        await node.service.referrers(PEER, REPOSITORY, manifest.digest)
    bill, text = await node.image("bill", subject=_raw(manifest), artifactType="application/spdx+json")
    other, _ = await node.image("other", subject=_raw(manifest), artifactType="application/x-other")
    signature, _ = await node.image(
        "signature", subject=_raw(manifest), artifactType="application/x-signature"
    )
    about = referrer_label(bill.digest) | referrer_label(other.digest)
    await node.content.update_labels("default", manifest.digest, about)
    for artifact, home in ((bill, REPOSITORY), (other, "r.example/team/other")):
        await node.content.update_labels("default", artifact.digest, source_label(Reference.parse(home)))
    await node.name(f"{REPOSITORY}:signature", signature)
    found = await node.service.referrers(PEER, REPOSITORY, manifest.digest)
    assert {each.digest for each in found} == {bill.digest, signature.digest}
    (only,) = await node.service.referrers(PEER, REPOSITORY, manifest.digest, "application/spdx+json")
    assert (only.digest, only.artifact_type) == (bill.digest, "application/spdx+json")
    assert await node.served(bill.digest)
    assert await node.served(text.digest)
    assert not await node.served(other.digest)
    for peer, repository in (
        (Identity(frozenset({"dns:stranger"})), REPOSITORY),
        (PEER, "r.example/team/other"),
    ):
        assert not await node.served(bill.digest, repository, peer)
        with pytest.raises(NotFound):
            await node.service.referrers(peer, repository, manifest.digest)


async def test_memory_of_processes_is_served_as_no_referrer_either(node: Node) -> None:
    manifest, _ = await node.image("one")
    await node.name(f"{REPOSITORY}:1", manifest)
    memory = await node.add(b"memory", DUMP)
    hidden, _ = await node.image("hidden", subject=_raw(manifest), layers=[_raw(memory)])
    await node.content.update_labels("default", manifest.digest, referrer_label(hidden.digest))
    await node.content.update_labels("default", hidden.digest, source_label(Reference.parse(REPOSITORY)))
    assert not await node.served(memory.digest)
