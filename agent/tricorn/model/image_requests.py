"""What clients ask of images beyond pulling and pushing them, and what they are told. See `requests`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from attrs import Factory, frozen

from tricorn.model.requests import RegistryAuth

LayerCompression = Literal["gzip", "zstd", "none"]


@frozen
class ContainerCommit:
    """Body of `POST /v1/{namespace}/containers/{id}/commit`.

    `changes` are Dockerfile instructions that say how the image is run. `timestamp` bounds all times of the
    layer and is the image's own: the same tree gives the same image. `pause` freezes a running container
    while its files are read.
    """

    reference: str
    author: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    pause: bool = True
    compression: LayerCompression = "gzip"
    timestamp: datetime | None = None
    unpack: bool = True


@frozen
class SnapshotDiff:
    """Body of `POST /v1/{namespace}/snapshots/{snapshotter}/{key}/diff`. No `parent`: what the snapshot
    stands on; an empty one: nothing. `timestamp` bounds all times: the same files give the same bytes.
    """

    parent: str | None = None
    compression: LayerCompression = "gzip"
    timestamp: datetime | None = None


@frozen
class CommitResult:
    """The image that a container became; `layer` is "" when its files are the base image's."""

    reference: str
    digest: str
    layer: str = ""
    size: int = 0  # of the layer, in bytes
    warnings: tuple[str, ...] = ()


@frozen
class ImageConversion:
    """Body of `POST /v1/{namespace}/images/{name}/convert`. What is left empty stays as it is; `platforms`
    are the only ones that the result has.
    """

    reference: str
    form: Literal["", "oci", "docker"] = ""
    compression: Literal["", "gzip", "zstd", "none"] = ""
    platforms: tuple[str, ...] = ()


@frozen
class ConversionResult:
    """`layers` counts those that were compressed otherwise."""

    reference: str
    digest: str
    media_type: str
    layers: int = 0
    warnings: tuple[str, ...] = ()


@frozen
class ReferrersQuery:
    """Body of `POST /v1/{namespace}/images/{name}/referrers`: ask the image's registry what refers to it.

    `type` names an artifact type, empty for all; with `fetch` what is found comes to the node and stays as
    long as the image. `platform` asks for one platform's image in place of the index.
    """

    type: str = ""
    platform: str = ""
    fetch: bool = False
    plain_http: bool = False
    auth: RegistryAuth | None = None


@frozen
class Referrer:
    """An artifact that refers to an image; `present` tells whether it is on the node."""

    digest: str
    media_type: str
    size: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = Factory(dict)
    present: bool = False


@frozen
class ReferrersResult:
    """What refers to `subject`, an image's digest."""

    subject: str
    referrers: tuple[Referrer, ...] = ()


@frozen
class MissingBlob:
    """Content of an image that isn't as it must be: without a record (`missing`), without its file
    (`lost`), or taken out of service because it was damaged on disk (`quarantined`).
    """

    digest: str
    size: int
    media_type: str
    state: Literal["missing", "lost", "quarantined"]


@frozen
class ImageCheck:
    """Whether an image is all there, for a platform or for all; sizes in bytes.

    `unpacked` lists the snapshotters that have its top layer; `problem` says why documents can't be read.
    """

    name: str
    digest: str
    media_type: str
    complete: bool
    blobs: int = 0  # that it consists of
    present: int = 0
    size: int = 0
    present_size: int = 0
    missing: tuple[MissingBlob, ...] = ()
    unpacked: tuple[str, ...] = ()
    problem: str = ""


@frozen
class ImageUsage:
    """The bytes an image takes on the node. `unique` ones would be free without it, `shared` ones are
    other images' as well.
    """

    name: str
    digest: str
    content: int
    content_unique: int
    content_shared: int
    snapshots: int
    snapshots_unique: int
    snapshots_shared: int
    inodes: int = 0


@frozen
class ImageUsages:
    """Of several images, and of all of them together, where shared bytes count once."""

    images: tuple[ImageUsage, ...]
    content: int = 0
    snapshots: int = 0
