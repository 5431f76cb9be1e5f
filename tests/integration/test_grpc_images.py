"""Images over gRPC: names for descriptors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tricorn.grpc import Code
from tricorn.model.ids import Digest
from tricorn_testing.content_client import DATA, DIGEST, Client, content_client, images, refused
from tricorn_testing.daemon import Daemon

LAYER = "application/vnd.oci.image.layer.v1.tar"

pytestmark = [pytest.mark.root, pytest.mark.integration]


@pytest.fixture
async def client(agent: Daemon, own_namespace: str) -> AsyncIterator[Client]:
    async with content_client(agent, own_namespace) as made:
        yield made


def image(name: str = "img", digest: str = DIGEST, size: int = len(DATA), **fields: Any) -> Any:
    target = {"media_type": LAYER, "digest": digest, "size": size, "annotations": {"x": "1"}}
    return images.Image(name=name, target=target, **fields)


class TestImages:
    async def test_create_get_list_update_delete(self, client: Client) -> None:
        made = (await client.call("Create", images.CreateImageRequest(image=image(labels={"a": "1"})))).image
        assert made.created_at == made.updated_at
        assert (await client.call("Get", images.GetImageRequest(name="img"))).image == made
        with refused(Code.ALREADY_EXISTS):
            await client.call("Create", images.CreateImageRequest(image=image()))
        request = images.UpdateImageRequest(image=image(digest=Digest.of(b"x"), labels={"b": "2"}))
        request.update_mask.paths.append("labels.b")
        changed = (await client.call("Update", request)).image
        assert dict(changed.labels) == {"a": "1", "b": "2"}
        assert (changed.target, changed.created_at) == (made.target, made.created_at)
        listed = await client.call("List", images.ListImagesRequest(filters=["labels.b==2", "name==no"]))
        assert list(listed.images) == [changed]
        assert not (await client.call("List", images.ListImagesRequest(filters=["name==no"]))).images
        await client.call("Delete", images.DeleteImageRequest(name="img"))
        with refused(Code.NOT_FOUND):
            await client.call("Get", images.GetImageRequest(name="img"))

    async def test_an_update_without_a_mask_replaces_all(self, client: Client) -> None:
        await client.call("Create", images.CreateImageRequest(image=image(labels={"a": "1"})))
        new = image(digest=Digest.of(b"x"), size=1, labels={"b": "2"})
        changed = (await client.call("Update", images.UpdateImageRequest(image=new))).image
        assert (changed.target, dict(changed.labels)) == (new.target, {"b": "2"})

    async def test_dates_may_be_given(self, client: Client) -> None:
        request = images.CreateImageRequest(image=image())
        request.source_date_epoch.seconds = 0
        request.source_date_epoch.SetInParent()
        made = (await client.call("Create", request)).image
        assert made.created_at.seconds == made.updated_at.seconds == 0

    @pytest.mark.parametrize(
        "wrong",
        [image(""), image(size=0), image(digest="sha256:../.."), image(labels={"k": "v" * 5000})],
    )
    async def test_malformed_images(self, client: Client, wrong: Any) -> None:
        with refused(Code.INVALID_ARGUMENT):
            await client.call("Create", images.CreateImageRequest(image=wrong))

    async def test_delete_checks_the_target(self, client: Client) -> None:
        await client.call("Create", images.CreateImageRequest(image=image()))
        request = images.DeleteImageRequest(name="img", target={"digest": Digest.of(b"other")})
        with refused(Code.NOT_FOUND, "target"):
            await client.call("Delete", request)
        request.target.digest = DIGEST
        await client.call("Delete", request)

    async def test_a_synchronous_delete_frees_at_once(self, client: Client, agent: Daemon) -> None:
        await client.call("Create", images.CreateImageRequest(image=image()))
        await Client(agent, client.channel, client.namespace).put()
        assert (await client.info()).size == len(DATA)
        await client.call("Delete", images.DeleteImageRequest(name="img", sync=True))
        with refused(Code.NOT_FOUND):
            await client.info()
