"""What artifacts say of what they refer to, and the labels and lists that follow."""

from __future__ import annotations

import json

import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, Index, parse_image_document
from tricorn.rules.referrers import (
    as_referrer,
    fallback_tag,
    labelled_referrers,
    of_type,
    referrer_label,
    subject_of,
    with_referrer,
)

A, B = Digest.of(b"a"), Digest.of(b"b")
SUBJECT = {"mediaType": OCI_MANIFEST, "digest": str(A), "size": 5}


def test_labels_go_there_and_back() -> None:
    labels = referrer_label(A) | referrer_label(B)
    assert f"containerd.io/gc.ref.content.referrer.sha256.{A.hex[:12]}" in labels
    assert set(labelled_referrers({**labels, "containerd.io/gc.ref.content.l.0": "x"})) == {A, B}
    assert labelled_referrers({"containerd.io/gc.ref.content.referrer.sha256.x": "junk"}) == ()


def test_the_tag() -> None:
    assert fallback_tag(A) == f"sha256-{A.hex}"
    assert fallback_tag(Digest("sha512:" + "a" * 128)) == "sha512-" + "a" * 64


def test_what_a_manifest_refers_to() -> None:
    assert subject_of(b'{"layers": []}') is None
    assert subject_of(json.dumps({"subject": SUBJECT}).encode()) == Descriptor(OCI_MANIFEST, A, 5)
    for bad in (b'{"subject": 1}', b'{"subject": {"digest": "x", "size": 1}}', b"[]"):
        with pytest.raises(InvalidArgument):
            subject_of(bad)


def test_how_lists_name_it() -> None:
    plain = Descriptor(OCI_MANIFEST, B, 7)
    raw = {"config": {"mediaType": "application/x-config"}, "annotations": {"k": "v"}}
    assert as_referrer(json.dumps(raw).encode(), plain).artifact_type == "application/x-config"
    named = as_referrer(json.dumps({**raw, "artifactType": "application/x"}).encode(), plain)
    assert (named.artifact_type, named.annotations) == ("application/x", {"k": "v"})
    assert of_type([named, plain, named], "application/x") == [named]
    assert of_type([plain, Descriptor(OCI_MANIFEST, A, 1)], "") == sorted(
        [plain, Descriptor(OCI_MANIFEST, A, 1)], key=lambda each: each.digest
    )


def test_a_list_grows_once() -> None:
    one = Descriptor(OCI_MANIFEST, A, 1, artifact_type="application/x")
    first = with_referrer(None, one)
    assert first is not None
    assert with_referrer(first, one) is None
    second = with_referrer(first, Descriptor(OCI_MANIFEST, B, 2))
    assert second is not None
    index = parse_image_document(second, OCI_INDEX)
    assert isinstance(index, Index)
    assert [entry.digest for entry in index.manifests] == [A, B]
    assert index.manifests[0] == one
