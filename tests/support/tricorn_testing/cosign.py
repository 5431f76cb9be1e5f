"""Signs images as cosign does it with a key pair: a payload, its signature, and a manifest beside the image."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tricorn_testing.registry import Registry

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
REFERRER = "application/vnd.dev.cosign.artifact.sig.v1+json"


class KeyPair:
    """A key pair of one `kind`: ec, rsa or ed25519."""

    def __init__(self, kind: str = "ec") -> None:
        self._key: Any = {
            "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
            "rsa": lambda: rsa.generate_private_key(65537, 2048),
            "ed25519": ed25519.Ed25519PrivateKey.generate,
        }[kind]()

    @property
    def public(self) -> bytes:
        pem: bytes = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def write(self, path: Path) -> str:
        """Write the public key to a file; return its name."""
        path.write_bytes(self.public)
        path.chmod(0o644)
        return str(path)

    def sign(self, payload: bytes) -> bytes:
        key = self._key
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key.sign(payload, ec.ECDSA(SHA256()))
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(payload, padding.PKCS1v15(), SHA256())
        made: bytes = key.sign(payload)
        return made


def payload_of(repository: str, digest: str, **critical: Any) -> bytes:
    fields = {
        "identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
        **critical,
    }
    return json.dumps({"critical": fields, "optional": None}).encode()


def push_signatures(
    registry: Registry,
    repository: str,
    digest: str,
    signed: list[tuple[bytes, bytes]],
    *,
    referrer: bool = False,
) -> None:
    """Put a signature manifest of (payload, signature) pairs where cosign puts it: under its tag, or as a
    referrer in the list that registries without the referrers API keep.
    """
    config = b"{}"
    layers = [
        {
            "mediaType": PAYLOAD,
            "digest": _push(registry, repository, payload),
            "size": len(payload),
            "annotations": {"dev.cosignproject.cosign/signature": base64.b64encode(signature).decode()},
        }
        for payload, signature in signed
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": _push(registry, repository, config),
            "size": len(config),
        },
        "layers": layers,
    }
    place = f"/v2/{repository}/manifests/"
    data = json.dumps(manifest).encode()
    if not referrer:
        name = f"{digest.replace(':', '-')}.sig"
        registry.request("PUT", place + name, data, {"Content-Type": MANIFEST}, expect=201)
        return
    name = f"sha256:{hashlib.sha256(data).hexdigest()}"
    registry.request("PUT", place + name, data, {"Content-Type": MANIFEST}, expect=201)
    entry = {"mediaType": MANIFEST, "digest": name, "size": len(data), "artifactType": REFERRER}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    registry.request("PUT", place + digest.replace(":", "-"), index, {"Content-Type": INDEX}, expect=201)


def _push(registry: Registry, repository: str, data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    _, headers, _ = registry.request("POST", f"/v2/{repository}/blobs/uploads/", b"", expect=202)
    place = headers["location"].removeprefix(f"http://{registry.address}")
    joint = "&" if "?" in place else "?"
    binary = {"Content-Type": "application/octet-stream"}
    registry.request("PUT", f"{place}{joint}digest={digest}", data, binary, expect=201)
    return digest
