"""Identities that follow from documents alone: chain ids, labels that keep an image's parts. Pure.

Sources: OCI image-spec (config.md, layer chain id); containerd's GC label conventions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import takewhile

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor, ImageConfig, Index, Manifest
from tricorn.model.reference import Reference
from tricorn.rules.media_types import IMAGE_CONFIGS

GC_CONTENT = "containerd.io/gc.ref.content"
_SOURCE = "containerd.io/distribution.source."


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """Return each layer's chain id: sha256 over the one below and the layer's own diff id."""
    chain: list[str] = []
    for diff_id in diff_ids:
        if not chain:
            chain.append(str(diff_id))
            continue
        chain.append("sha256:" + hashlib.sha256(f"{chain[-1]} {diff_id}".encode()).hexdigest())
    return tuple(chain)


def diff_ids_of(manifest: Manifest, config: ImageConfig) -> tuple[Digest, ...]:
    """Return the config's diff ids, one a layer; raise InvalidArgument if the numbers differ."""
    if len(config.diff_ids) != len(manifest.layers):
        if not config.diff_ids and manifest.config.media_type not in IMAGE_CONFIGS:
            raise InvalidArgument(
                "this is an artifact, not an image",
                why=f"its config is of type {manifest.config.media_type[:160]!r}",
                hint="artifacts come with the image that they refer to: `image pull --with-referrers`",
            )
        raise InvalidArgument(
            "the image's config and manifest disagree",
            why=f"{len(config.diff_ids)} diff ids for {len(manifest.layers)} layers",
            field="rootfs.diff_ids",
        )
    return config.diff_ids


def child_labels(document: Manifest | Index) -> dict[str, str]:
    """Return the labels that keep a document's children from collection."""
    if isinstance(document, Index):
        return {f"{GC_CONTENT}.m.{i}": str(child.digest) for i, child in enumerate(document.manifests)}
    labels = {f"{GC_CONTENT}.config": str(document.config.digest)}
    labels.update({f"{GC_CONTENT}.l.{i}": str(layer.digest) for i, layer in enumerate(document.layers)})
    return labels


def source_label(reference: Reference) -> dict[str, str]:
    """Return the label that tells from which repository a blob came (for mounts on push)."""
    return {f"{_SOURCE}{reference.host}": reference.path}


def added_source(labels: Mapping[str, str], reference: Reference) -> dict[str, str]:
    """Return the label to set so that a blob with `labels` is known to be in the reference's repository,
    too: empty if it is known already, or if the list would outgrow a label.
    """
    ((key, path),) = source_label(reference).items()
    known = set(filter(None, labels.get(key, "").split(",")))
    listed = ",".join(sorted(known | {path}))
    return {} if path in known or len(key) + len(listed) > limits.LABEL_SIZE else {key: listed}


def sources_of(labels: Mapping[str, str], reference: Reference) -> list[str]:
    """Return the other repositories of the reference's registry that a blob is known to be in, those first
    that share most of their path with the reference's (for mounts on push).
    """
    listed = labels.get(f"{_SOURCE}{reference.host}", "")
    paths = {path for path in listed.split(",") if path and path != reference.path}
    return sorted(paths, key=lambda path: (-_shared(path, reference.path), path))


def sources_in(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return every (host, repository) that the labels say a blob came from."""
    return [
        (key.removeprefix(_SOURCE), path)
        for key, value in sorted(labels.items())
        if key.startswith(_SOURCE)
        for path in value.split(",")
        if path
    ]


def _shared(one: str, other: str) -> int:
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def nondistributable(descriptor: Descriptor) -> bool:
    """Whether a layer's licence keeps it out of registries (Windows' base layers)."""
    return ".nondistributable." in descriptor.media_type or ".foreign." in descriptor.media_type
