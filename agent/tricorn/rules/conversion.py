"""An image's documents in another form, or over layers that are compressed otherwise. Pure.

A document that need not change keeps its bytes, and so its digest; one that changes keeps the order of its
members, so that the same source gives the same bytes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from tricorn.errors import FailedPrecondition
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor, Manifest, layer_compression, load_document
from tricorn.rules.chains import nondistributable
from tricorn.rules.media_types import IMAGE_CONFIGS, Form, document_type, is_layer, layer_type

_REFERS: Final = "vnd.docker.reference.digest"
# What tools noted of the inside of a layer's compressed bytes.
_OF_THE_BYTES: Final = (
    "containerd.io/snapshot/stargz/", "io.containers.estargz.", "io.github.containers.zstd-chunked.",
)  # fmt: skip
_NOT_DOCKERS: Final = ("annotations", "subject", "artifactType")


@frozen
class Wanted:
    """What an image is converted to. A `compression` of None leaves layers as they are."""

    form: Form = ""
    compression: str | None = None


@frozen
class Converted:
    """A document after conversion; `warnings` say what had to be left out."""

    data: bytes
    media_type: str
    warnings: tuple[str, ...] = ()


def is_image(manifest: Manifest) -> bool:
    """Whether a manifest is an image's: an artifact's is not touched."""
    return manifest.config.media_type in IMAGE_CONFIGS


def to_repack(manifest: Manifest, wanted: Wanted) -> tuple[int, ...]:
    """Return the positions of the layers that have to be compressed otherwise.

    FailedPrecondition where the wanted form can't have what the layers would be.
    """
    if not is_image(manifest):
        return ()
    found = []
    for position, layer in enumerate(manifest.layers):
        if not is_layer(layer.media_type) or nondistributable(layer):
            continue
        now = layer_compression(layer.media_type)
        compression = now if wanted.compression is None else wanted.compression
        if wanted.form == "docker" and compression == "zstd":
            raise FailedPrecondition(
                "an image in Docker's form has no zstd layers",
                why=f"layer {layer.digest} would be one: schema 2 knows gzip and plain tar only",
                hint="take gzip for Docker's form, or OCI's form for zstd",
                field="compression",
            )
        if compression != now:
            found.append(position)
    return tuple(found)


def convert_manifest(
    data: bytes,
    descriptor: Descriptor,
    manifest: Manifest,
    wanted: Wanted,
    packed: Mapping[Digest, Descriptor],
) -> Converted:
    """Return a manifest in the wanted form; `packed` gives the layers that were compressed otherwise."""
    if not is_image(manifest):
        if wanted.form == "docker":
            raise FailedPrecondition(f"{descriptor.digest} is an artifact: Docker's form is for images alone")
        return Converted(data, descriptor.media_type)
    media_type = document_type(descriptor.media_type, wanted.form)
    raw = load_document(data, "manifest")
    new = copy.deepcopy(raw)
    new["config"]["mediaType"] = document_type(manifest.config.media_type, wanted.form)
    for entry, layer in zip(new.get("layers") or (), manifest.layers, strict=True):
        _convert_layer(entry, layer, wanted, packed.get(layer.digest))
    warnings = _leave_out(new, descriptor, wanted.form)
    return _finished(data, raw, new, descriptor.media_type, media_type, warnings)


def _convert_layer(
    entry: dict[str, Any], layer: Descriptor, wanted: Wanted, packed: Descriptor | None
) -> None:
    if is_layer(layer.media_type):
        compression = layer_compression(packed.media_type if packed else layer.media_type)
        entry["mediaType"] = layer_type(layer.media_type, wanted.form, compression)
    if packed:
        entry["digest"], entry["size"] = str(packed.digest), packed.size
        entry.pop("data", None)
        kept = {key: text for key, text in layer.annotations.items() if not key.startswith(_OF_THE_BYTES)}
        if kept != layer.annotations:
            entry["annotations"] = kept
    if wanted.form == "docker" or not entry.get("annotations", True):
        entry.pop("annotations", None)


def convert_index(
    data: bytes,
    descriptor: Descriptor,
    wanted: Wanted,
    chosen: Callable[[Digest], bool],
    became: Mapping[Digest, Descriptor],
) -> Converted:
    """Return an index over what its manifests became, without the entries that weren't `chosen`.

    An attestation of a manifest that is another one now speaks of nothing any more, and is left out.
    """
    media_type = document_type(descriptor.media_type, wanted.form)
    raw = load_document(data, "index")
    new = copy.deepcopy(raw)
    entries, dropped = [], 0
    for entry in new.get("manifests") or ():
        digest = Digest.parse(entry["digest"])
        if not chosen(digest):
            continue
        if _speaks_of(entry, became, digest):
            dropped += 1
            continue
        made = became.get(digest)
        if made is not None:
            entry["mediaType"], entry["digest"], entry["size"] = made.media_type, str(made.digest), made.size
        if made is not None and made.digest != digest:
            entry.pop("data", None)
        if wanted.form == "docker":
            entry.pop("annotations", None)
        entries.append(entry)
    new["manifests"] = entries
    warnings = _leave_out(new, descriptor, wanted.form)
    if dropped:
        warnings = (*warnings, f"{dropped} attestations of the unconverted images are left out")
    return _finished(data, raw, new, descriptor.media_type, media_type, warnings)


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether an entry of an index speaks of another entry, as BuildKit's attestations do."""
    return _REFERS in descriptor.annotations


def _speaks_of(entry: dict[str, Any], became: Mapping[Digest, Descriptor], digest: Digest) -> bool:
    """Whether an entry is about a manifest that is not what it was."""
    about = (entry.get("annotations") or {}).get(_REFERS)
    made = became.get(Digest(about)) if isinstance(about, str) else None
    return made is not None and str(made.digest) != about and digest not in became


def _leave_out(new: dict[str, Any], descriptor: Descriptor, form: Form) -> tuple[str, ...]:
    if form != "docker":
        return ()
    gone = [key for key in _NOT_DOCKERS if new.pop(key, None)]
    return (f"{descriptor.digest}: {', '.join(gone)} left out: Docker's form has no such",) if gone else ()


def _finished(
    data: bytes, raw: Any, new: dict[str, Any], old_type: str, media_type: str, warnings: tuple[str, ...]
) -> Converted:
    if media_type != old_type:
        new["mediaType"] = media_type
    if new == raw:
        return Converted(data, media_type, warnings)
    return Converted(
        json.dumps(new, separators=(",", ":"), ensure_ascii=False).encode(), media_type, warnings
    )
