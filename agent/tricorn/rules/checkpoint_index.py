"""Checkpoints as images: the index that holds their parts, read in both of containerd's forms, written in one
that both of its ways to restore understand. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import evolve, frozen

from tricorn.errors import InvalidArgument
from tricorn.model import checkpoints
from tricorn.model.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    Index,
    Platform,
    document_of,
    layer_types,
)
from tricorn.rules import packed

_DATE: Final = "%m-%d-%Y-%H:%M:%S"  # as containerd names its own


@frozen
class Parts:
    """What an index holds; `name` is what the image was called that the container was made from."""

    dump: Descriptor
    base: Descriptor | None
    rw: Descriptor | None
    name: str
    config: Descriptor | None = None


def parts_of(index: Index) -> Parts:
    """Return the parts of a checkpoint. InvalidArgument for an index that is none."""
    found: dict[str, Descriptor] = {}
    for entry in index.manifests:
        kind = entry.media_type
        if kind in INDEX_TYPES | MANIFEST_TYPES:
            kind = "base"
        elif kind in layer_types():
            kind = "rw"
        found.setdefault(kind, entry)
    dump = found.get(checkpoints.DUMP)
    if dump is None:
        raise InvalidArgument(
            "the image is no checkpoint of processes", why="its index has no dump of CRIU in it",
            hint="`tricorn checkpoint` and `ctr containers checkpoint --task` make one",
        )  # fmt: skip
    notes = index.annotations
    name = notes.get(checkpoints.REF_NAME) or notes.get(checkpoints.IMAGE_NAME) or ""
    return Parts(dump, found.get("base"), found.get("rw"), name, found.get(checkpoints.CONFIG))


def index_document(parts: Sequence[Descriptor], machine: Platform, annotations: Mapping[str, str]) -> bytes:
    """Return the index; each part but an image is said to be of this machine's kind, as containerd does."""
    kept = INDEX_TYPES | MANIFEST_TYPES
    entries = [
        document_of(part if part.media_type in kept else evolve(part, platform=machine)) for part in parts
    ]
    document: dict[str, Any] = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries,
        "annotations": dict(annotations),
    }  # fmt: skip
    return json.dumps(document, separators=(",", ":")).encode()


def default_name(container: str, now: datetime) -> str:
    """Return the name of a checkpoint for which none was asked."""
    return f"containerd.io/checkpoint/{container}:{now.strftime(_DATE)}"


def checkpoint_parts(index: Index) -> tuple[Descriptor, ...]:
    """Return what the index of a checkpoint holds beside images; nothing for any other index."""
    if not any(entry.media_type == checkpoints.DUMP for entry in index.manifests):
        return ()
    return tuple(
        entry
        for entry in index.manifests
        if checkpoints.is_secret(entry.media_type) or entry.media_type in layer_types()
    )


def id_maps_in(config: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the lines of the mappings in the spec that a checkpoint's processes had: users, groups; none
    when it has none, or can't be read. Nothing of them is checked.
    """
    try:
        linux = json.loads(packed.value_of_any(config)).get("linux") or {}
        uids, gids = (
            tuple(f"{one['containerID']}:{one['hostID']}:{one['size']}" for one in linux.get(key) or ())
            for key in ("uidMappings", "gidMappings")
        )
    except (ValueError, TypeError, LookupError, AttributeError, InvalidArgument):
        return (), ()
    return uids, gids


def command_in(config: bytes) -> tuple[str, ...]:
    """Return the command in the spec that a checkpoint's processes had, () when it can't be read: it is shown
    and started anew where neither request nor image names one, with what the target grants.
    """
    try:
        args = json.loads(packed.value_of_any(config))["process"]["args"]
        return tuple(args) if args and all(isinstance(word, str) for word in args) else ()
    except (ValueError, TypeError, LookupError, InvalidArgument):
        return ()
