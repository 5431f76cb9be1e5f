"""Chain ids and the labels that keep an image's parts."""

from __future__ import annotations

import hashlib

import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, ImageConfig, Index, Manifest
from tricorn.model.reference import Reference
from tricorn.rules.chains import (
    added_source,
    chain_ids,
    child_labels,
    diff_ids_of,
    nondistributable,
    source_label,
    sources_of,
)

A, B, C = (Digest.of(name) for name in (b"a", b"b", b"c"))


def descriptor(digest: Digest) -> Descriptor:
    return Descriptor("x", digest, 1)


def test_the_chain_of_one_is_its_diff_id_and_grows_by_hashing() -> None:
    second = "sha256:" + hashlib.sha256(f"{A} {B}".encode()).hexdigest()
    third = "sha256:" + hashlib.sha256(f"{second} {C}".encode()).hexdigest()
    assert chain_ids([A, B, C]) == (A, second, third)
    assert chain_ids([]) == ()


def test_equal_top_layers_on_other_parents_are_other_snapshots() -> None:
    assert chain_ids([A, C])[-1] != chain_ids([B, C])[-1]


def test_a_config_that_counts_otherwise_than_the_manifest_is_refused() -> None:
    manifest = Manifest(OCI_MANIFEST, descriptor(A), (descriptor(B),))
    with pytest.raises(InvalidArgument, match="disagree"):
        diff_ids_of(manifest, ImageConfig(diff_ids=(A, B)))


def test_labels_follow_containerds_names() -> None:
    manifest = Manifest(OCI_MANIFEST, descriptor(A), (descriptor(B), descriptor(C)))
    assert child_labels(manifest) == {
        "containerd.io/gc.ref.content.config": A,
        "containerd.io/gc.ref.content.l.0": B,
        "containerd.io/gc.ref.content.l.1": C,
    }
    index = Index(OCI_INDEX, (descriptor(A),))
    assert child_labels(index) == {"containerd.io/gc.ref.content.m.0": A}
    reference = Reference.parse("localhost:5000/x/y")
    assert source_label(reference) == {"containerd.io/distribution.source.localhost:5000": "x/y"}


def test_a_repository_is_added_to_those_that_are_known() -> None:
    reference = Reference.parse("example.com/team/app:1")
    key = "containerd.io/distribution.source.example.com"
    assert added_source({}, reference) == {key: "team/app"}
    assert added_source({key: "z/z,a/a"}, reference) == {key: "a/a,team/app,z/z"}
    assert added_source({key: "a/a,team/app"}, reference) == {}
    many = ",".join(f"team/app-{number}" for number in range(1000))
    assert added_source({key: many}, reference) == {}, "no label holds that"


def test_sources_are_other_repositories_of_the_same_registry_the_nearest_first() -> None:
    labels = {
        "containerd.io/distribution.source.example.com": "other/app,team/base,team/app,team/app/old,",
        "containerd.io/distribution.source.other.com": "team/else",
    }
    reference = Reference.parse("example.com/team/app:1")
    assert sources_of(labels, reference) == ["team/app/old", "team/base", "other/app"]
    assert sources_of({}, reference) == []
    assert sources_of(source_label(reference), reference) == []


@pytest.mark.parametrize(
    ("media_type", "kept"),
    [
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True),
        ("application/vnd.oci.image.layer.v1.tar+gzip", False),
    ],
)
def test_layers_that_stay_out_of_registries(media_type: str, kept: bool) -> None:
    assert nondistributable(Descriptor(media_type, A, 1)) is kept
