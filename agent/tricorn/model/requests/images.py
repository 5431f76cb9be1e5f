"""What clients ask for and are told of images, archives of them, and registries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from attrs import Factory, field, frozen

PullPolicy = Literal["missing", "always", "never"]


@frozen
class RegistryAuth:
    """Credentials of one request; never stored, never logged."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@frozen
class HeaderAuth(RegistryAuth):
    """A ready Authorization value instead of credentials; from clients that hold a token already."""

    header: str = field(default="", repr=False)


@frozen
class ImageDesired:
    """Body of `PUT /v1/{namespace}/images`."""

    reference: str
    state: Literal["present", "absent"] = "present"
    pull: PullPolicy = "missing"
    platform: str = ""  # the node's own when empty
    platforms: tuple[str, ...] = ()  # others whose content comes, too, and stays packed
    all_platforms: bool = False  # the content of all that the image has comes, too
    plain_http: bool = False
    auth: RegistryAuth | None = None
    snapshotter: str = ""
    unpack: bool = True
    labels: Mapping[str, str] = Factory(dict)


@frozen
class ImagePush:
    """Body of `POST /v1/{namespace}/images/{name}/push`. An empty `reference` is the image's own name; an
    empty `platform` pushes the image for all its platforms.
    """

    reference: str = ""
    platform: str = ""
    plain_http: bool = False
    auth: RegistryAuth | None = None
    referrers: bool = False  # push also what refers to it and is on the node


@frozen
class ImageTag:
    """Body of `POST /v1/{namespace}/images/{name}/tag`."""

    reference: str


@frozen
class ImageTags:
    """Body of `PUT /v1/{namespace}/images/{name}/tags`: names that the image shall have, too. `force` moves
    those that stand for another image.
    """

    references: tuple[str, ...]
    force: bool = False


@frozen
class ArchiveExport:
    """Body of `PUT /v1/{namespace}/archive/export`: the file `path` of the node holds these images."""

    path: str
    images: tuple[str, ...]
    platform: str = ""
    all_platforms: bool = False


@frozen
class ArchiveImport:
    """Body of `PUT /v1/{namespace}/archive/import`: the images of the node's file `path` are here."""

    path: str
    base_name: str = ""
    platform: str = ""
    all_platforms: bool = False
    unpack: bool = True
    compress: bool = False


@frozen
class PushResult:
    """What a push left at the registry."""

    reference: str
    digest: str


@frozen
class NamedImage:
    name: str
    digest: str
    media_type: str


@frozen
class ImportResult:
    """The images of an archive, as they are recorded now."""

    images: tuple[NamedImage, ...]


@frozen
class LayerView:
    digest: str
    size: int
    media_type: str


@frozen
class ImageView:
    name: str
    digest: str
    media_type: str
    size: int  # of all blobs for the node's platform that are present
    platform: str = ""
    unpacked: bool = False
    labels: Mapping[str, str] = Factory(dict)
    layers: tuple[LayerView, ...] = ()
    config: Mapping[str, Any] = Factory(dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
