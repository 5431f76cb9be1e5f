"""Signatures of images: whose they are, and of what."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_CONFIG, OCI_MANIFEST, Descriptor, Manifest
from tricorn.rules.policy import Signer
from tricorn.rules.simple_signing import (
    PAYLOAD_TYPE,
    load_key,
    problem_of,
    signature_tag,
    signatures_in,
)
from tricorn_testing.cosign import KeyPair, payload_of

IMAGE = "registry.example/team/app:1"
REPOSITORY = "registry.example/team/app"
DIGEST = Digest.of(b"image")
OURS = Signer(("/k",))
KEY = KeyPair()


def problem(payload: bytes, *, signer: Signer = OURS, key: KeyPair = KEY, name: str = IMAGE) -> str:
    check = load_key(KEY.public, "/k")
    return problem_of(signer, [check], key.sign(payload), payload, name, DIGEST)


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_keys_of_each_kind_verify_their_own_signatures_only(kind: str) -> None:
    key, other = KeyPair(kind), KeyPair(kind)
    check = load_key(key.public, "/k")
    assert check(key.sign(b"payload"), b"payload")
    assert not check(key.sign(b"payload"), b"payloae")
    assert not check(other.sign(b"payload"), b"payload")
    assert not check(b"", b"payload")
    assert not check(b"\x30\x00garbage", b"payload")


@pytest.mark.parametrize(
    "pem", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\xff"]
)
def test_what_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidArgument):
        load_key(pem, "/k")


def test_weak_keys_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import dh, x25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    assert dh  # the import of another kind must not disturb
    pem = (
        x25519.X25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(InvalidArgument, match="can't be used"):
        load_key(pem, "/k")


def test_a_good_signature() -> None:
    assert problem(payload_of(REPOSITORY, DIGEST)) == ""


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (payload_of(REPOSITORY, Digest.of(b"other image")), "is of sha256:"),
        (payload_of("registry.example/team/other", DIGEST), "is for registry.example/team/other"),
        (payload_of("evil.example/team/app", DIGEST), "is for evil.example/team/app"),
        (payload_of("", DIGEST), "names no repository"),
        (payload_of(REPOSITORY, DIGEST, type="cosign attestation"), "is of a 'cosign attestation'"),
        (b"[]", "malformed"),
        (b"{}", "malformed"),
        (b'{"critical": null}', "malformed"),
        (b'{"critical": {"image": [], "identity": 3}}', "malformed"),
        (b"\xff\xfe", "malformed"),
    ],
)
def test_signed_payloads_that_are_not_for_this_image(payload: bytes, why: str) -> None:
    assert why in problem(payload)


def test_nothing_of_a_payload_counts_without_the_right_key() -> None:
    assert problem(payload_of(REPOSITORY, DIGEST), key=KeyPair()) == "a signature is of another key"


def test_identities_stand_in_for_the_images_own_repository() -> None:
    mirror = Signer(("/k",), ("docker.io/library/*",))
    assert problem(payload_of("index.docker.io/library/redis", DIGEST), signer=mirror) == ""
    assert problem(payload_of("docker.io/evil/redis", DIGEST), signer=mirror)
    assert problem(payload_of(REPOSITORY, DIGEST), signer=mirror)


def _layer(**fields: Any) -> Descriptor:
    annotations = {"dev.cosignproject.cosign/signature": base64.b64encode(b"s").decode()}
    whole = {"media_type": PAYLOAD_TYPE, "digest": DIGEST, "size": 10, "annotations": annotations, **fields}
    return Descriptor(**whole)


def test_only_what_looks_like_a_signature_is_fetched_and_not_without_end() -> None:
    strange = [
        _layer(media_type="application/json"),
        _layer(annotations={}),
        _layer(annotations={"dev.cosignproject.cosign/signature": "not base64!"}),
        _layer(size=limits.SIGNATURE_PAYLOAD + 1),
    ]
    config = Descriptor(OCI_CONFIG, DIGEST, 2)
    assert signatures_in(Manifest(OCI_MANIFEST, config, tuple(strange))) == []
    many = Manifest(OCI_MANIFEST, config, tuple([_layer()] * 500))
    assert len(signatures_in(many)) == limits.SIGNATURES_PER_IMAGE
    assert signatures_in(many)[0].signature == b"s"


def test_the_tag_of_signatures() -> None:
    assert signature_tag(DIGEST) == f"sha256-{DIGEST.hex}.sig"
