"""Signatures of images as cosign makes them: "simple signing" payloads signed with a key pair.

The signature of an image lies beside it under the tag `sha256-<hex>.sig`, or is listed as its referrer: a
manifest whose layers are payloads, each with its signature as an annotation. Source: cosign's
specs/SIGNATURE_SPEC.md. The cryptography is `cryptography`'s, which is imported when the first key is read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import frozen

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor, Manifest, load_document
from tricorn.model.reference import Reference
from tricorn.rules.policy import Signer, matches, parsed

PAYLOAD_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
REFERRER_TYPE: Final = "application/vnd.dev.cosign.artifact.sig.v1+json"
_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
_KIND: Final = "cosign container image signature"
_RSA_BITS: Final = 2048

Check = Callable[[bytes, bytes], bool]  # (signature, payload) → whether the one is the key's of the other


@frozen
class Signature:
    """A payload of a signature manifest, still to be fetched, and what signs it."""

    payload: Descriptor
    signature: bytes


def signature_tag(digest: Digest) -> str:
    """Return the tag under which signatures of an image lie."""
    return f"{digest.algorithm}-{digest.hex}.sig"


def signatures_in(manifest: Manifest) -> list[Signature]:
    """Return the signatures that a signature manifest holds, as many as are looked at; others are passed
    over, for anybody who may push can add what is none.
    """
    found = []
    for layer in manifest.layers:
        raw = layer.annotations.get(_ANNOTATION, "")
        if layer.media_type != PAYLOAD_TYPE or not raw or layer.size > limits.SIGNATURE_PAYLOAD:
            continue
        try:
            found.append(Signature(layer, base64.b64decode(raw, validate=True)))
        except (binascii.Error, ValueError):
            continue
    return found[: limits.SIGNATURES_PER_IMAGE]


def load_key(pem: bytes, path: str) -> Check:
    """Return the check of a PEM public key: ECDSA and RSA (PKCS #1 v1.5) over SHA-256, or Ed25519.

    Raises InvalidArgument for anything else.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidArgument(
            f"{path} is no public key", hint="a PEM file that begins with BEGIN PUBLIC KEY", field="signers"
        ) from None
    return _check_of(key, path)


def _check_of(key: Any, path: str) -> Check:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, ec.EllipticCurvePublicKey):
        return _checking(lambda signature, payload: key.verify(signature, payload, ec.ECDSA(SHA256())))
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _checking(key.verify)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_BITS:
        return _checking(
            lambda signature, payload: key.verify(signature, payload, padding.PKCS1v15(), SHA256())
        )
    raise InvalidArgument(
        f"the key in {path} can't be used", hint=f"ECDSA, Ed25519 or RSA of {_RSA_BITS} bits", field="signers"
    )


def _checking(verify: Callable[[bytes, bytes], object]) -> Check:
    from cryptography.exceptions import InvalidSignature

    def check(signature: bytes, payload: bytes) -> bool:
        try:
            verify(signature, payload)
        except InvalidSignature:
            return False
        return True

    return check


def problem_of(
    signer: Signer, checks: Iterable[Check], signature: bytes, payload: bytes, name: str, digest: Digest
) -> str:
    """Return "" if the signature is the signer's for the image `name` with `digest`, else why it isn't.

    Nothing of the payload is believed before the signature has been checked.
    """
    if not any(check(signature, payload) for check in checks):
        return "a signature is of another key"
    try:
        critical = load_document(payload, "payload")["critical"]
        kind, image, identity = critical["type"], critical["image"], critical["identity"]
        signed, made_for = image["docker-manifest-digest"], identity["docker-reference"]
    except (InvalidArgument, KeyError, TypeError):
        return "a payload is malformed"
    if kind != _KIND:
        return f"a signature is of a {str(kind)[:80]!r}"
    if signed != str(digest):
        return f"a signature is of {str(signed)[:100]}"
    return _identity_problem(signer, str(made_for), name)


def _identity_problem(signer: Signer, made_for: str, name: str) -> str:
    theirs, ours = parsed(made_for), parsed(name)
    if theirs is None:
        return "a signature names no repository"
    if signer.identities:
        fits = any(matches(pattern, theirs.name) for pattern in signer.identities)
    else:
        fits = isinstance(ours, Reference) and ours.name == theirs.name
    return "" if fits else f"a signature is for {theirs.name}"
