"""Image documents: strict where ambiguity is an attack, bounded everywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted, TricornError
from tricorn.model.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Index,
    Manifest,
    document_of,
    layer_compression,
    load_document,
    parse_descriptor,
    parse_image_config,
    parse_image_document,
)

DIGEST = "sha256:" + "b" * 64


def descriptor(media_type: str = OCI_LAYER, size: Any = 10, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": DIGEST, "size": size, **more}


def manifest(**more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "config": descriptor(OCI_CONFIG), "layers": [descriptor()], **more}


def parse(document: Any, media_type: str = OCI_MANIFEST) -> Manifest | Index:
    return parse_image_document(json.dumps(document).encode(), media_type)


def test_a_manifest_and_an_index() -> None:
    parsed = parse(manifest(mediaType=OCI_MANIFEST, annotations={"a": "b"}))
    assert isinstance(parsed, Manifest)
    assert parsed.layers[0].size == 10
    index = parse(
        {"manifests": [descriptor(OCI_MANIFEST, platform={"os": "linux", "architecture": "arm64"})]},
        DOCKER_INDEX,
    )
    assert isinstance(index, Index)
    assert str(index.manifests[0].platform) == "linux/arm64"


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX])
@pytest.mark.parametrize("extra", [{"layers": []}, {"config": {}}, {"fsLayers": []}])
def test_a_document_of_both_kinds_is_refused(media_type: str, extra: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="both"):
        parse({"manifests": [], **extra}, media_type)


def test_the_declared_type_must_be_the_served_one() -> None:
    with pytest.raises(InvalidArgument, match="ambiguous"):
        parse(manifest(mediaType=OCI_INDEX))
    with pytest.raises(InvalidArgument, match="ambiguous"):
        parse(manifest(mediaType=["x"]))


def test_a_duplicated_member_cannot_hide_the_other_kind() -> None:
    text = b'{"manifests": [], "config": {}, "manifests": []}'
    with pytest.raises(InvalidArgument):
        parse_image_document(text, OCI_INDEX)


def test_schema_1_is_unsupported() -> None:
    with pytest.raises(InvalidArgument, match="unsupported"):
        parse({}, "application/vnd.docker.distribution.manifest.v1+prettyjws")


@pytest.mark.parametrize("size", [-1, 1.5, "10", True, None, [], float("nan")])
def test_a_size_is_a_whole_number(size: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(manifest(layers=[descriptor(size=size)]))
    assert caught.value.field == "layers[0].size"


def test_sizes_and_counts_are_bounded() -> None:
    for bad in (
        manifest(layers=[descriptor(size=limits.LAYER_SIZE + 1)]),
        manifest(layers=[descriptor()] * (limits.LAYERS_PER_IMAGE + 1)),
        manifest(layers=[descriptor(size=limits.LAYER_SIZE)] * 5),
    ):
        with pytest.raises(ResourceExhausted):
            parse(bad)
    with pytest.raises(ResourceExhausted):
        parse({"manifests": [descriptor()] * (limits.INDEX_NODES + 1)}, OCI_INDEX)
    with pytest.raises(ResourceExhausted):
        load_document(b" " * (limits.MANIFEST_SIZE + 1), "x")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000, b'"\\ud800"']
)
def test_broken_json_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        load_document(data, "manifest")


def test_text_is_text() -> None:
    """JSON can spell lone surrogates, which no database and no peer takes; pairs are fine."""
    with pytest.raises(InvalidArgument):
        load_document(b'{"annotations": {"a": "\\uD800"}}', "manifest")
    with pytest.raises(InvalidArgument):
        load_document(b'{"\\udfff": 1}', "manifest")
    assert load_document(b'{"a": "\\ud83d\\ude00"}', "manifest") == {"a": "\U0001f600"}


def test_the_digest_of_a_descriptor_is_no_path() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(manifest(config={**descriptor(), "digest": "sha256:../../../etc/passwd"}))
    assert caught.value.field == "config.digest"


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [(OCI_LAYER, ""), (OCI_LAYER + "+gzip", "gzip"), (OCI_LAYER + "+zstd", "zstd"),
     ("application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip")],
)  # fmt: skip
def test_layer_compression(media_type: str, compression: str) -> None:
    assert layer_compression(media_type) == compression


def test_unknown_layer_types_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        layer_compression("application/vnd.oci.image.layer.v1.tar+rar")


def test_an_image_config() -> None:
    config = parse_image_config(json.dumps({
        "os": "linux", "architecture": "arm64", "variant": "v8",
        "config": {"User": "1", "Env": ["A=b"], "Cmd": ["x"], "Entrypoint": None, "Volumes": {"/v": {}}, "Labels": {"l": "1"}},
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    }).encode())  # fmt: skip
    assert (config.user, config.env, config.cmd, config.entrypoint) == ("1", ("A=b",), ("x",), ())
    assert config.volumes == ("/v",)
    assert config.diff_ids == (DIGEST,)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
KEYS = ["mediaType", "config", "layers", "manifests", "digest", "size", "annotations", "platform", "urls", "rootfs",
        "diff_ids", "Env", "Cmd", "Volumes", "Labels", "os", "architecture", "artifactType", "User"]  # fmt: skip
shaped = st.recursive(
    json_values | st.just(DIGEST) | st.integers(0, 99),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@given(shaped, st.sampled_from([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX]))
def test_any_document_parses_or_is_refused(document: Any, media_type: str) -> None:
    data = json.dumps(document).encode()
    for read in (lambda: parse_image_document(data, media_type), lambda: parse_image_config(data)):
        refusal = None
        try:
            read()
        except TricornError as error:
            refusal = error
        assert len(str(refusal)) < 2000


@given(st.dictionaries(st.sampled_from(KEYS), shaped, max_size=6))
def test_a_descriptor_survives_the_round_trip(raw: dict[str, Any]) -> None:
    try:
        parsed = parse_descriptor({"digest": DIGEST, "size": 1, **raw}, "x")
    except TricornError:
        return
    assert parse_descriptor(document_of(parsed), "x") == parsed
