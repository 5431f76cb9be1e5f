"""The two families of image media types, OCI's and Docker's, and the way from one to the other. Pure.

Sources: OCI image-spec 1.1 (media-types.md), Docker image manifest v2 schema 2; zstd layers in Docker's
family are containerd's invention, which other programs don't know.
"""

from __future__ import annotations

from typing import Final, Literal

from tricorn.errors import FailedPrecondition
from tricorn.model.oci import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    layer_compression,
    layer_types,
)

Form = Literal["", "oci", "docker"]  # "": as it is
_PAIRS: Final = ((OCI_INDEX, DOCKER_INDEX), (OCI_MANIFEST, DOCKER_MANIFEST), (OCI_CONFIG, DOCKER_CONFIG))
_TO_OCI: Final = {docker: oci for oci, docker in _PAIRS}
_TO_DOCKER: Final = dict(_PAIRS)
_OCI_FOREIGN: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_FOREIGN: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
IMAGE_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})


def document_type(media_type: str, form: Form) -> str:
    """Return the media type of an index, a manifest or an image's config in `form`; others stay."""
    table = {"oci": _TO_OCI, "docker": _TO_DOCKER, "": {}}[form]
    return table.get(media_type, media_type)


def is_layer(media_type: str) -> bool:
    """Whether it is a layer that can be unpacked."""
    return media_type in layer_types()


def layer_type(media_type: str, form: Form, compression: str) -> str:
    """Return the media type of a layer in `form`, compressed by `compression` ("", gzip or zstd).

    FailedPrecondition for zstd in Docker's form: schema 2 has no such layers. InvalidArgument for what is
    no layer.
    """
    layer_compression(media_type)  # raises for what is no layer
    docker = form == "docker" or (not form and ".docker." in media_type)
    foreign = ".nondistributable." in media_type or ".foreign." in media_type
    if not docker:
        return (_OCI_FOREIGN if foreign else OCI_LAYER) + (f"+{compression}" if compression else "")
    if compression == "zstd" and not media_type.endswith(".zstd"):
        raise FailedPrecondition(
            "an image in Docker's form has no zstd layers",
            why="schema 2 knows gzip and plain tar only",
            hint="take OCI's form for zstd, or gzip for Docker's",
            field="compression",
        )
    return (_DOCKER_FOREIGN if foreign else DOCKER_LAYER) + (f".{compression}" if compression else "")
