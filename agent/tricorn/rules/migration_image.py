"""A container on its way through a registry, as an image: an OCI manifest whose layers are the dump and what
changed last in its files. Pure.

No index as checkpoints have it: registries refuse those that name anything but manifests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from tricorn.errors import InvalidArgument
from tricorn.model.checkpoints import DUMP
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_LAYER, OCI_MANIFEST, Descriptor, Manifest, parse_image_document

ARTIFACT: Final = "application/vnd.tricorn.migration.v1"
_REPOSITORY: Final = "tricorn-migrations"
_EMPTY: Final = "application/vnd.oci.empty.v1+json"
_NOTHING: Final = b"{}"


def repository_of(via: str) -> str:
    """Return the repository that `via` names, a registry's own for migrations where it is HOST[:PORT] alone;
    "" for "".
    """
    return f"{via}/{_REPOSITORY}" if via and "/" not in via else via


def empty() -> tuple[Descriptor, bytes]:
    """Return the configuration of an image that has none."""
    return Descriptor(_EMPTY, Digest.of(_NOTHING), len(_NOTHING)), _NOTHING


def image_of(parts: Sequence[Descriptor]) -> tuple[Descriptor, bytes]:
    """Return the manifest that names the parts."""
    document = msgspec.json.encode(
        {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": ARTIFACT,
            "config": _entry(empty()[0]), "layers": [_entry(part) for part in parts],
        }
    )  # fmt: skip
    return Descriptor(OCI_MANIFEST, Digest.of(document), len(document)), document


def parts_in(document: bytes) -> tuple[Descriptor, Descriptor | None]:
    """Return the dump and the layer in a manifest. InvalidArgument for anything else."""
    manifest = parse_image_document(document, OCI_MANIFEST)
    layers = manifest.layers if isinstance(manifest, Manifest) else ()
    kinds = [layer.media_type for layer in layers]
    if kinds not in ([DUMP], [DUMP, OCI_LAYER]):
        raise InvalidArgument("the image holds no container on its way", why=f"its layers are {kinds[:5]}")
    return layers[0], layers[1] if len(layers) > 1 else None


def _entry(part: Descriptor) -> dict[str, str | int]:
    return {"mediaType": part.media_type, "digest": str(part.digest), "size": part.size}
