"""Identities that follow from documents alone: chain ids, labels that keep an image's parts. Pure.

Sources: OCI image-spec (config.md, layer chain id); containerd's GC label conventions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.oci import ImageConfig, Index, Manifest
from tricorn.model.reference import Reference

GC_CONTENT = "containerd.io/gc.ref.content"


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
    return {f"containerd.io/distribution.source.{reference.host}": reference.path}
