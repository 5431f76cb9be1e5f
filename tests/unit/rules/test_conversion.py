"""Documents in another form: what changes, what keeps its bytes, what can't be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tricorn.errors import FailedPrecondition, InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    parse_image_document,
)
from tricorn.rules.conversion import Wanted, convert_index, convert_manifest, is_image, to_repack
from tricorn.rules.media_types import document_type, layer_type

CONFIG, LAYER, NEW = (Digest.of(name) for name in (b"config", b"layer", b"new"))
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def described(media_type: str, digest: Digest, size: int = 7, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}


def manifest_of(
    media_type: str, config: str, *layers: dict[str, Any], **more: Any
) -> tuple[bytes, Descriptor, Manifest]:
    raw = {
        "schemaVersion": 2, "mediaType": media_type, "config": described(config, CONFIG), "layers": layers, **more
    }  # fmt: skip
    data = json.dumps(raw, indent=2).encode()
    document = parse_image_document(data, media_type)
    assert isinstance(document, Manifest)
    return data, Descriptor(media_type, Digest.of(data), len(data)), document


@pytest.mark.parametrize(
    ("media_type", "form", "compression", "made"),
    [
        (DOCKER_LAYER_GZIP, "oci", "gzip", f"{OCI_LAYER}+gzip"),
        (DOCKER_LAYER_GZIP, "", "", "application/vnd.docker.image.rootfs.diff.tar"),
        (f"{OCI_LAYER}+zstd", "docker", "gzip", DOCKER_LAYER_GZIP),
        (OCI_LAYER, "", "zstd", f"{OCI_LAYER}+zstd"),
        (FOREIGN, "oci", "gzip", OCI_FOREIGN),
        (OCI_FOREIGN, "docker", "gzip", FOREIGN),
    ],
)
def test_layer_types(media_type: str, form: Any, compression: str, made: str) -> None:
    assert layer_type(media_type, form, compression) == made


def test_what_is_no_layer_and_what_docker_lacks() -> None:
    with pytest.raises(InvalidArgument):
        layer_type("text/plain", "oci", "gzip")
    with pytest.raises(FailedPrecondition, match="no zstd"):
        layer_type(DOCKER_LAYER_GZIP, "", "zstd")
    assert document_type("text/plain", "oci") == "text/plain"


def test_a_manifest_that_need_not_change_keeps_its_bytes() -> None:
    data, descriptor, manifest = manifest_of(OCI_MANIFEST, OCI_CONFIG, described(f"{OCI_LAYER}+gzip", LAYER))
    for wanted in (Wanted(), Wanted("oci"), Wanted("oci", "gzip")):
        assert to_repack(manifest, wanted) == ()
        assert convert_manifest(data, descriptor, manifest, wanted, {}).data == data


def test_docker_to_oci_and_back() -> None:
    source = manifest_of(DOCKER_MANIFEST, DOCKER_CONFIG, described(DOCKER_LAYER_GZIP, LAYER))
    made = convert_manifest(*source, Wanted("oci"), {})
    raw = json.loads(made.data)
    assert made.media_type == raw["mediaType"] == OCI_MANIFEST
    assert raw["config"] == described(OCI_CONFIG, CONFIG)
    assert raw["layers"] == [described(f"{OCI_LAYER}+gzip", LAYER)]
    again = (
        made.data,
        Descriptor(OCI_MANIFEST, Digest.of(made.data), 1),
        parse_image_document(made.data, OCI_MANIFEST),
    )
    back = convert_manifest(*again, Wanted("docker"), {})  # type: ignore[arg-type]  # a manifest
    assert json.loads(back.data) == json.loads(source[0])


def test_docker_has_no_annotations() -> None:
    layer = described(f"{OCI_LAYER}+gzip", LAYER, annotations={"a": "b"})
    source = manifest_of(OCI_MANIFEST, OCI_CONFIG, layer, annotations={"x": "y"})
    made = convert_manifest(*source, Wanted("docker"), {})
    assert "annotations" not in made.data.decode()
    assert "annotations left out" in made.warnings[0]


def test_packed_layers_take_their_place() -> None:
    notes = {
        "io.containers.estargz.uncompressed-size": "3",
        "containerd.io/snapshot/stargz/toc.digest": "x",
        "k": "v",
    }
    layer = described(f"{OCI_LAYER}+gzip", LAYER, annotations=notes)
    source = manifest_of(OCI_MANIFEST, OCI_CONFIG, layer, described(OCI_FOREIGN, CONFIG))
    wanted = Wanted("", "zstd")
    assert to_repack(source[2], wanted) == (0,)  # what may not be passed on isn't touched
    packed = {LAYER: Descriptor(f"{OCI_LAYER}+zstd", NEW, 99)}
    made = json.loads(convert_manifest(*source, wanted, packed).data)
    assert made["layers"] == [
        described(f"{OCI_LAYER}+zstd", NEW, 99, annotations={"k": "v"}), described(OCI_FOREIGN, CONFIG)
    ]  # fmt: skip


def test_zstd_stands_in_the_way_of_docker() -> None:
    _, _, manifest = manifest_of(OCI_MANIFEST, OCI_CONFIG, described(f"{OCI_LAYER}+zstd", LAYER))
    with pytest.raises(FailedPrecondition, match="no zstd layers"):
        to_repack(manifest, Wanted("docker"))
    assert to_repack(manifest, Wanted("docker", "gzip")) == (0,)


def test_artifacts_stay_what_they_are() -> None:
    source = manifest_of(OCI_MANIFEST, "application/vnd.oci.empty.v1+json", described("text/plain", LAYER))
    assert not is_image(source[2])
    assert to_repack(source[2], Wanted("", "zstd")) == ()
    assert convert_manifest(*source, Wanted("oci", "zstd"), {}).data == source[0]
    with pytest.raises(FailedPrecondition, match="artifact"):
        convert_manifest(*source, Wanted("docker"), {})


def index_of(*entries: dict[str, Any]) -> tuple[bytes, Descriptor]:
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    return data, Descriptor(OCI_INDEX, Digest.of(data), len(data))


def test_an_index_over_what_its_manifests_became() -> None:
    platform = {"os": "linux", "architecture": "amd64"}
    about = {"vnd.docker.reference.digest": str(LAYER)}
    data, descriptor = index_of(
        described(OCI_MANIFEST, LAYER, platform=platform),
        described(OCI_MANIFEST, CONFIG, annotations=about),
    )
    became = {LAYER: Descriptor(DOCKER_MANIFEST, NEW, 8)}
    made = convert_index(data, descriptor, Wanted("docker"), lambda _: True, became)
    raw = json.loads(made.data)
    assert raw["mediaType"] == made.media_type == DOCKER_INDEX
    assert raw["manifests"] == [described(DOCKER_MANIFEST, NEW, 8, platform=platform)]
    assert "1 attestations" in made.warnings[0]
    kept = convert_index(
        data, descriptor, Wanted("oci"), lambda _: True, {LAYER: Descriptor(OCI_MANIFEST, LAYER, 7)}
    )
    assert kept.data == data
    assert json.loads(
        convert_index(data, descriptor, Wanted(), lambda digest: digest == CONFIG, {}).data
    )["manifests"] == [described(OCI_MANIFEST, CONFIG, annotations=about)]  # fmt: skip
