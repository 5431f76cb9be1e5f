"""The documents of the image that a container becomes. Pure; the same arguments give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from attrs import frozen

from tricorn.model.ids import Digest
from tricorn.model.oci import (
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
    document_of,
    layer_compression,
)
from tricorn.rules.image_changes import with_changes
from tricorn.rules.media_types import layer_type

# A tar archive without members: two empty blocks.
EMPTY_LAYER: Final = Digest("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
_BUILDERS_OWN: Final = ("container", "container_config", "docker_version", "id", "parent", "parent_id")


@frozen
class Added:
    """What a commit adds to its base. No `diff_id`: the files are the base's."""

    created: datetime
    created_by: str = ""
    author: str = ""
    message: str = ""
    changes: Sequence[str] = ()
    diff_id: Digest | None = None


def empty_config(platform: Platform) -> dict[str, Any]:
    """Return the config of an image without layers, for containers that were made of nothing."""
    variant = {"variant": platform.variant} if platform.variant else {}
    return {
        "architecture": platform.architecture, "os": platform.os, **variant, "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
    }  # fmt: skip


def committed_config(base: Mapping[str, Any], added: Added) -> bytes:
    """Return the new image config. Raises InvalidArgument for a change that isn't understood."""
    made = {key: value for key, value in base.items() if key not in _BUILDERS_OWN}
    moment = _moment(added.created)
    made["created"] = moment
    if added.author:
        made["author"] = added.author
    made["config"] = with_changes(base.get("config") or {}, added.changes)
    diff_ids = list((base.get("rootfs") or {}).get("diff_ids") or ())
    if added.diff_id is not None:
        diff_ids.append(str(added.diff_id))
    made["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
    entry: dict[str, Any] = {"created": moment, "created_by": added.created_by}
    if added.author:
        entry["author"] = added.author
    if added.message:
        entry["comment"] = added.message
    if added.diff_id is None:
        entry["empty_layer"] = True
    made["history"] = [*(base.get("history") or ()), entry]
    return _json(made)


def committed_manifest(base: Manifest | None, config: Descriptor, layer: Descriptor | None) -> bytes:
    """Return the new manifest, in OCI's form whatever the base's was."""
    layers = [] if base is None else [_in_oci(each) for each in base.layers]
    if layer is not None:
        layers.append(document_of(layer))
    return _json(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": document_of(config), "layers": layers}
    )


def _in_oci(layer: Descriptor) -> dict[str, Any]:
    document = document_of(layer)
    document["mediaType"] = layer_type(layer.media_type, "oci", layer_compression(layer.media_type))
    return document


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
