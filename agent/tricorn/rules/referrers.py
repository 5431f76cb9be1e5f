"""Artifacts that refer to an image: what they say of themselves, and what keeps them. Pure.

Sources: OCI image-spec 1.1 (`subject`, `artifactType`), OCI distribution-spec 1.1 (referrers API and tag
schema), containerd's GC labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import evolve

from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_INDEX, Descriptor, document_of, load_document, parse_descriptor
from tricorn.rules.chains import GC_CONTENT

_LABEL: Final = f"{GC_CONTENT}.referrer."
_SHORT: Final = 12  # digits of a digest in a label's key, as containerd has it


def referrer_label(digest: Digest) -> dict[str, str]:
    """Return the label of a subject that keeps a referrer as long as the subject is kept."""
    return {f"{_LABEL}{digest.algorithm}.{digest.hex[:_SHORT]}": str(digest)}


def labelled_referrers(labels: Mapping[str, str]) -> tuple[Digest, ...]:
    """Return the referrers that a subject's labels name; what is no digest is ignored."""
    found = []
    for key, text in labels.items():
        if key.startswith(_LABEL):
            try:
                found.append(Digest.parse(text))
            except InvalidArgument:
                continue
    return tuple(found)


def fallback_tag(subject: Digest) -> str:
    """Return the tag under which registries without the referrers API keep the list of referrers."""
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"


def subject_of(data: bytes) -> Descriptor | None:
    """Return what a manifest or an index refers to, None for nothing."""
    raw = load_document(data, "manifest").get("subject")
    return None if raw is None else parse_descriptor(raw, "subject")


def as_referrer(data: bytes, descriptor: Descriptor) -> Descriptor:
    """Return the descriptor that lists name a referrer by: with its artifact type and annotations."""
    raw = load_document(data, "manifest")
    config = raw.get("config")
    kind = raw.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else "")
    notes = raw.get("annotations")
    return evolve(
        descriptor,
        artifact_type=kind if isinstance(kind, str) else "",
        annotations={str(key): str(text) for key, text in notes.items()} if isinstance(notes, dict) else {},
        platform=None,
    )


def of_type(referrers: Sequence[Descriptor], artifact_type: str) -> list[Descriptor]:
    """Return those of an artifact type, all of them for ""; each once, in a fixed order."""
    chosen = {each.digest: each for each in referrers if artifact_type in {"", each.artifact_type}}
    return [chosen[digest] for digest in sorted(chosen)]


def with_referrer(index: bytes | None, referrer: Descriptor) -> bytes | None:
    """Return the list of referrers with one more; None if it has it already."""
    raw: dict[str, Any] = load_document(index, "index") if index else {}
    entries = raw.get("manifests") or []
    if any(isinstance(entry, dict) and entry.get("digest") == str(referrer.digest) for entry in entries):
        return None
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        **raw,
        "manifests": [*entries, document_of(referrer)],
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
