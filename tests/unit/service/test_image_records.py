"""Images as clients of containerd's image service see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve

from tricorn.errors import AlreadyExists, InvalidArgument, NotFound
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.records import Image, LeaseResource
from tricorn.service.image_records import ImageRecords
from tricorn.service.policy import PolicyGate
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

NS = "testing"
MEDIA = "application/vnd.oci.image.manifest.v1+json"
TARGET = Descriptor(MEDIA, Digest.of(b"a"), 10, annotations={"x": "1"})
OTHER = Descriptor(MEDIA, Digest.of(b"b"), 20)
IMAGE = Image("any name at all", TARGET, {"k": "v"})
EXPIRES = {"containerd.io/gc.expire": "2030-01-01T00:00:00Z"}


class FakeCollector:
    runs = 0

    async def collect(self) -> None:
        self.runs += 1


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def collector() -> FakeCollector:
    return FakeCollector()


@pytest.fixture
async def db(tmp_path: Path, clock: HandClock) -> AsyncIterator[Database]:
    async with Database.open(str(tmp_path / "db" / "t.db"), clock) as database:
        yield database


@pytest.fixture
def images(db: Database, collector: FakeCollector) -> ImageRecords:
    return ImageRecords(db, collector, PolicyGate(db, None, None))  # type: ignore[arg-type]


async def test_create_and_get(images: ImageRecords, clock: HandClock) -> None:
    made = await images.create(NS, evolve(IMAGE, labels={"k": "v", "none": ""}))
    assert made == Image(IMAGE.name, TARGET, {"k": "v"}, clock.now(), clock.now())
    assert await images.get(NS, IMAGE.name) == made
    with pytest.raises(AlreadyExists):
        await images.create(NS, IMAGE)
    with pytest.raises(NotFound):
        await images.get("other", IMAGE.name)


async def test_the_client_may_say_when(images: ImageRecords) -> None:
    epoch = datetime(2020, 1, 1, tzinfo=UTC)
    made = await images.create(NS, IMAGE, at=epoch)
    assert (made.created_at, made.updated_at) == (epoch, epoch)
    later = epoch + timedelta(days=1)
    changed = await images.update(NS, evolve(IMAGE, target=OTHER), at=later)
    assert (changed.created_at, changed.updated_at) == (epoch, later)
    assert await images.get(NS, IMAGE.name) == changed


@pytest.mark.parametrize(
    "image",
    [
        evolve(IMAGE, name=""),
        evolve(IMAGE, target=evolve(TARGET, size=0)),
        evolve(IMAGE, target=evolve(TARGET, media_type="")),
        evolve(IMAGE, target=evolve(TARGET, digest=Digest("sha256:../../x"))),
        evolve(IMAGE, labels={"k": "v" * 5000}),
    ],
)
async def test_malformed_images_are_refused(images: ImageRecords, image: Image) -> None:
    with pytest.raises(InvalidArgument):
        await images.create(NS, image)
    await images.create(NS, IMAGE)
    with pytest.raises(InvalidArgument):
        await images.update(NS, image)


@pytest.mark.parametrize(
    ("paths", "labels", "target"),
    [
        ((), {"new": "1"}, evolve(OTHER, annotations={"y": "2"})),
        (("labels",), {"new": "1"}, TARGET),
        (("labels.new",), {"k": "v", "new": "1"}, TARGET),
        (("labels.k",), {}, TARGET),
        (("target",), {"k": "v"}, evolve(OTHER, annotations={"y": "2"})),
        (("annotations",), {"k": "v"}, evolve(TARGET, annotations={"y": "2"})),
        (("annotations.y",), {"k": "v"}, evolve(TARGET, annotations={"x": "1", "y": "2"})),
        (("annotations.x",), {"k": "v"}, evolve(TARGET, annotations={})),
        (("target", "labels.new"), {"k": "v", "new": "1"}, evolve(OTHER, annotations={"y": "2"})),
    ],
)
async def test_update_masks(images: ImageRecords, paths, labels, target) -> None:
    await images.create(NS, IMAGE)
    new = Image(IMAGE.name, evolve(OTHER, annotations={"y": "2", "none": ""}), {"new": "1"})
    changed = await images.update(NS, new, paths)
    assert (changed.labels, changed.target) == (labels, target)
    assert await images.get(NS, IMAGE.name) == changed


async def test_other_fields_never_change(images: ImageRecords, db: Database) -> None:
    await images.create(NS, IMAGE)
    for path in ("name", "created_at", "target.digest", "", "label"):
        with pytest.raises(InvalidArgument):
            await images.update(NS, IMAGE, [path])
    with pytest.raises(NotFound):
        await images.update(NS, evolve(IMAGE, name="other"))
    topics = [event.topic for event in (await db.read(lambda tx: tx.events.page(0))).events]
    assert topics == ["/namespaces/create", "/images/create"]


async def test_lists_are_filtered(images: ImageRecords) -> None:
    await images.create(NS, IMAGE)
    await images.create(NS, Image("second", OTHER))

    async def names(*filters: str) -> list[str]:
        return [image.name for image in await images.list(NS, filters)]

    assert await names() == await names("") == [IMAGE.name, "second"]
    assert await names("name==second") == ["second"]
    assert await names(f"target.digest=={TARGET.digest}") == [IMAGE.name]
    assert await names("target.mediatype~=manifest,labels.k==v") == [IMAGE.name]
    assert await names("annotations.x==1") == [IMAGE.name]
    assert await names("labels.k==w", "name==second") == ["second"]
    with pytest.raises(InvalidArgument):
        await names("name=")


async def test_delete(images: ImageRecords, collector: FakeCollector, db: Database) -> None:
    await images.create(NS, IMAGE)
    with pytest.raises(NotFound, match="target"):
        await images.delete(NS, IMAGE.name, target=OTHER.digest)
    await images.delete(NS, IMAGE.name, target=TARGET.digest)
    assert collector.runs == 0
    with pytest.raises(NotFound):
        await images.delete(NS, IMAGE.name)
    await images.create(NS, IMAGE)
    await images.delete(NS, IMAGE.name, sync=True)
    assert collector.runs == 1


async def test_only_images_that_expire_need_a_lease(images: ImageRecords, db: Database) -> None:
    await db.write(lambda tx: tx.leases.create(NS, "l"))

    async def held() -> list[LeaseResource]:
        return await db.read(lambda tx: tx.leases.list_resources(NS, "l"))

    await images.create(NS, IMAGE, lease="l")
    assert await held() == []
    await images.update(NS, evolve(IMAGE, labels=EXPIRES), ["labels"], lease="l")
    assert await held() == [LeaseResource("images", IMAGE.name)]
    await images.delete(NS, IMAGE.name, lease="l")
    assert await held() == []
    with pytest.raises(NotFound, match="lease"):
        await images.create(NS, evolve(IMAGE, labels=EXPIRES), lease="none")
