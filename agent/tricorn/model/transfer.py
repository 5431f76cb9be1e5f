"""The two ends of a transfer of images, and what is told of one under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import Factory, frozen

from tricorn.model.oci import Descriptor, Platform


@frozen
class Naming:
    """How an image's name comes about. Without `is_prefix`, `name` is the name. With it, a tag in an archive
    is put behind `name`, and whole names count only below it, unless `allow_overwrite`. `add_digest` gives a
    name by digest, too, with `skip_named_digest` only to what has no other. With `completed`, names of an
    archive are what people's would be: `redis:7` is `docker.io/library/redis:7`.
    """

    name: str
    is_prefix: bool = False
    allow_overwrite: bool = False
    add_digest: bool = False
    skip_named_digest: bool = False
    completed: bool = False


@frozen
class Unpacking:
    """Unpack what suits `platform`; an empty `snapshotter` stands for the node's default."""

    platform: Platform
    snapshotter: str = ""


@frozen
class ImageStoreEnd:
    """The node's images as source or destination. No `platforms`: all of them. A `manifest_limit` over 0
    bounds how many images of an index are brought.
    """

    name: str = ""
    labels: Mapping[str, str] = Factory(dict)
    platforms: Sequence[Platform] = ()
    all_metadata: bool = False
    manifest_limit: int = 0
    references: Sequence[Naming] = ()
    unpacks: Sequence[Unpacking] = ()


@frozen
class TransferEvent:
    """One line about a transfer: of the whole (no `name`) or of one of its parts, in bytes."""

    event: str
    name: str = ""
    parents: Sequence[str] = ()
    progress: int = 0
    total: int = 0
    descriptor: Descriptor | None = None


Tell = Callable[[TransferEvent], None]
