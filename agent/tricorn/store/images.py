"""Images: names for descriptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import evolve, frozen

from tricorn.errors import AlreadyExists, InvalidArgument, NotFound
from tricorn.model import filters, ids
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.records import Image
from tricorn.rules.gc_labels import loosens
from tricorn.rules.plan import merged_labels
from tricorn.store.budgets import Budgets
from tricorn.store.codec import to_descriptor, to_json, to_labels, to_microseconds, to_time
from tricorn.store.journal import Events
from tricorn.store.leases import Leases
from tricorn.store.namespaces import Namespaces
from tricorn.store.session import Session

_SELECT: Final = "SELECT namespace, name, target, labels, created_at, updated_at FROM images "


class Images:
    __slots__ = ("_budgets", "_events", "_leases", "_namespaces", "_session")

    def __init__(
        self, session: Session, events: Events, namespaces: Namespaces, leases: Leases, budgets: Budgets
    ) -> None:
        self._session = session
        self._events = events
        self._namespaces = namespaces
        self._leases = leases
        self._budgets = budgets

    def create(self, namespace: str, image: Image, *, lease: str = "", at: datetime | None = None) -> Image:
        """Record a new image; its times are now, or `at`. AlreadyExists, InvalidArgument;
        ResourceExhausted beyond the namespace's budget.
        """
        _check(image)
        if self.find(namespace, image.name):
            raise AlreadyExists(f"image {image.name} exists already in namespace {namespace}")
        self._budgets.admit(namespace, "images")
        self._namespaces.ensure(namespace)
        now = to_microseconds(at) if at else self._session.now
        self._session.run(
            "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)",
            namespace, image.name, to_json(image.target), to_json(image.labels), now, now,
        )  # fmt: skip
        self._leases.protect(namespace, lease, "images", image.name)
        self._publish(namespace, "create", image)
        return evolve(image, created_at=to_time(now), updated_at=to_time(now))

    def put(self, namespace: str, image: Image, *, lease: str = "") -> Image:
        """Create the image or replace its target and labels; nothing happens if they are the same."""
        old = self.find(namespace, image.name)
        if old is None:
            return self.create(namespace, image, lease=lease)
        _check(image)
        self._leases.protect(namespace, lease, "images", image.name)
        if old.target == image.target and old.labels == image.labels:
            return old
        return self._store(namespace, old, image)

    def replace(self, namespace: str, image: Image, *, lease: str = "", at: datetime | None = None) -> Image:
        """Give a recorded image this target and these labels; it was updated now, or `at`. NotFound."""
        old = self.get(namespace, image.name)
        _check(image)
        self._leases.protect(namespace, lease, "images", image.name)
        return self._store(namespace, old, image, at)

    def update_labels(self, namespace: str, name: str, labels: Mapping[str, str]) -> Image:
        """Merge `labels` in; an empty value deletes. NotFound."""
        old = self.get(namespace, name)
        merged = ids.labels(merged_labels(old.labels, labels))
        return self._store(namespace, old, evolve(old, labels=merged))

    def _store(self, namespace: str, old: Image, new: Image, at: datetime | None = None) -> Image:
        now = to_microseconds(at) if at else self._session.now
        self._session.run(
            "UPDATE images SET target = ?, labels = ?, updated_at = ? WHERE namespace = ? AND name = ?",
            to_json(new.target), to_json(new.labels), now, namespace, new.name,
        )  # fmt: skip
        self._session.deletions += old.target.digest != new.target.digest or loosens(old.labels, new.labels)
        self._publish(namespace, "update", new)
        return evolve(new, created_at=old.created_at, updated_at=to_time(now))

    def find(self, namespace: str, name: str) -> Image | None:
        row = self._session.one(_SELECT + "WHERE namespace = ? AND name = ?", namespace, name)
        return _image(row) if row else None

    def get(self, namespace: str, name: str) -> Image:
        found = self.find(namespace, name)
        if found is None:
            raise NotFound(f"image {name} does not exist in namespace {namespace}")
        return found

    def list_all(self) -> list[tuple[str, Image]]:
        """Return the images of all namespaces, each with its namespace."""
        rows = self._session.all(_SELECT + "ORDER BY namespace, name")
        return [(row[0], _image(row)) for row in rows]

    def delete(self, namespace: str, name: str, *, target: Digest | None = None) -> None:
        """Remove the name. NotFound, also when `target` is given and the image points elsewhere."""
        image = self.get(namespace, name)
        if target is not None and image.target.digest != target:
            raise NotFound(
                f"image {name} with target {target} does not exist in namespace {namespace}",
                why=f"it points to {image.target.digest}",
            )
        self._session.run("DELETE FROM images WHERE namespace = ? AND name = ?", namespace, name)
        self._session.deletions += 1
        self._events.publish(namespace, "/images/delete", {"name": name})

    def _publish(self, namespace: str, verb: str, image: Image) -> None:
        self._events.publish(namespace, f"/images/{verb}", {"name": image.name, "labels": dict(image.labels)})

    def list(self, namespace: str, expressions: Sequence[str] = ()) -> list[Image]:
        """Return the images that match any of the filters, by name."""
        rows = self._session.all(_SELECT + "WHERE namespace = ? ORDER BY name", namespace)
        matches = filters.any_of(expressions)
        return [image for image in map(_image, rows) if not expressions or matches(_Filtered.of(image))]


@frozen
class _Filtered:
    """An image as filters see it: with the annotations of its target at the top, as containerd has them."""

    name: str
    target: Descriptor
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    created_at: datetime | None
    updated_at: datetime | None

    @classmethod
    def of(cls, image: Image) -> _Filtered:
        target = image.target
        return cls(image.name, target, image.labels, target.annotations, image.created_at, image.updated_at)


def _check(image: Image) -> None:
    if not image.name:
        raise InvalidArgument("an image needs a name", field="name")
    target: Descriptor = image.target
    Digest.parse(target.digest, "target.digest")
    if target.size <= 0:
        raise InvalidArgument(f"image {image.name}: size {target.size} is not positive", field="target.size")
    if not target.media_type:
        raise InvalidArgument(f"image {image.name}: the target has no media type", field="target.media_type")
    ids.labels(image.labels)


def _image(row: tuple[Any, ...]) -> Image:
    return Image(row[1], to_descriptor(row[2]), to_labels(row[3]), to_time(row[4]), to_time(row[5]))
