"""What other nodes may have of this one's content, and which of several brings a blob from the registry.

Decisions only: who a peer is by its certificate, what it may ask for, how its requests read, what of an
image is never served, and the order among nodes that want the same blob at the same time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote

from attrs import frozen

from tricorn.errors import InvalidArgument, NotFound, OutOfRange
from tricorn.model.checkpoints import is_secret
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    DOCKER_CONFIG,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_CONFIG,
    Index,
    Manifest,
    layer_types,
)
from tricorn.model.reference import Reference
from tricorn.rules.policy import matches
from tricorn.rules.simple_signing import PAYLOAD_TYPE

HEADER: Final = "Tricorn-Peer"  # of refusals: `none`, or `bringing N` with the bytes that have come so far
SERVED: Final = INDEX_TYPES | MANIFEST_TYPES | {OCI_CONFIG, DOCKER_CONFIG, PAYLOAD_TYPE} | layer_types()
_CHECKPOINT_NOTES: Final = ("org.criu.checkpoint.", "io.podman.annotations.checkpoint.",
                            "io.kubernetes.cri-o.annotations.checkpoint.")  # fmt: skip
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_PATH: Final = re.compile(r"/v2/(.+)/(manifests|blobs|referrers)/([^/]+)|/v2/(.+)/(tags)/list")


@frozen
class Identity:
    """A node as its certificate names it: `dns:…`, `ip:…`, `uri:…` and `cn:…`, in lower case."""

    names: frozenset[str]

    @property
    def label(self) -> str:
        """The name that figures and ranks go by: the same for a node's server and client certificate."""
        alternatives = sorted(name for name in self.names if not name.startswith("cn:"))
        return next(iter(alternatives or sorted(self.names)), "")

    def is_named(self, pattern: str) -> bool:
        """Whether a pattern (`node-*.example`, `cn:node-*`) fits one of the names; without a prefix it is
        about alternative names only, which is what certificates identify machines by.
        """
        wanted = pattern.lower()
        bare = [name.partition(":")[2] for name in self.names if not name.startswith("cn:")]
        return any(fnmatchcase(name, wanted) for name in (*self.names, *bare))


def identity_of(certificate: Mapping[str, Any]) -> Identity:
    """Return who a certificate (as `SSLSocket.getpeercert` gives it) names."""
    kinds = {"DNS": "dns", "URI": "uri", "IP Address": "ip"}
    names = [f"{kinds[kind]}:{text}" for kind, text in certificate.get("subjectAltName", ()) if kind in kinds]
    for part in certificate.get("subject", ()):
        names += [f"cn:{text}" for key, text in part if key == "commonName"]
    return Identity(frozenset(name.lower() for name in names))


@frozen
class PeerRule:
    """Peers that any of `names` fits may have images that any of `repositories` fits."""

    names: tuple[str, ...] = ("*",)
    repositories: tuple[str, ...] = ("**",)


@frozen
class Grant:
    """What is served to whom. No `rules`: everything served, to all whom the authority vouches for."""

    namespaces: tuple[str, ...]
    repositories: tuple[str, ...]
    rules: Sequence[PeerRule] = ()

    def allows(self, peer: Identity, repository: str) -> bool:
        """Whether `peer` may have images of `repository`."""
        if not any(matches(pattern, repository) for pattern in self.repositories):
            return False
        if not self.rules:
            return True
        return any(
            any(peer.is_named(name) for name in rule.names)
            and any(matches(pattern, repository) for pattern in rule.repositories)
            for rule in self.rules
        )

    def knows(self, peer: Identity) -> bool:
        """Whether `peer` may have anything at all."""
        return not self.rules or any(peer.is_named(name) for rule in self.rules for name in rule.names)


@frozen
class Asked:
    """One request: `kind` of thing, of which repository, and which one; `ping` for `/v2/` itself."""

    kind: Literal["ping", "manifests", "blobs", "referrers", "tags"]
    repository: str = ""  # with its host
    which: str = ""


def parse_target(target: str) -> Asked:
    """Read a request's target. `?ns=` names the registry that is stood in for, as containerd's mirrors are
    told; without it the repository is a familiar name. Raises NotFound for other paths, InvalidArgument.
    """
    path, _, query = target.partition("?")
    path = unquote(path)
    if path in {"/v2", "/v2/"}:
        return Asked("ping")
    match = _PATH.fullmatch(path)
    if match is None:
        raise NotFound(
            "there is no such path", hint="/v2/REPOSITORY/manifests|blobs|referrers/… and /tags/list"
        )
    name, kind, which = match[1] or match[4], match[2] or match[5], match[3] or ""
    host = dict(parse_qsl(query, max_num_fields=8)).get("ns", "")
    reference = Reference.parse(f"{host}/{name}" if host else name, "name")
    if reference.digest is not None or ":" in name.rpartition("/")[2]:
        raise InvalidArgument("the repository's name is malformed", field="name")
    return Asked(kind, reference.name, which)  # type: ignore[arg-type]  # one of the pattern's words


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return offset and length of the one range that is asked for, None for the whole.

    OutOfRange for a range that begins beyond the end. Forms that aren't served are no ranges: the whole
    answers them, too.
    """
    match = _RANGE.fullmatch(text.replace(" ", "").lower())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    if start >= size or (match[2] == "0" and not match[1]):
        raise OutOfRange("the blob ends before that range", why=f"it has {size} bytes")
    return (start, end - start) if end > start else None


def is_private(document: Manifest | Index, media_types: Iterable[str]) -> bool:
    """Whether a document is of a checkpoint: the memory of a process is for no other node to have."""
    if any(map(is_secret, media_types)):
        return True
    return any(key.startswith(_CHECKPOINT_NOTES) for key in document.annotations)


def goes_first(digest: Digest, this: Identity, other: Identity) -> bool:
    """Whether of two nodes that want a blob at the same time, `this` brings it and `other` waits.

    Rendezvous hashing: every node comes to the same order, another one for each blob.
    """
    return _rank(digest, this) > _rank(digest, other)


def _rank(digest: Digest, node: Identity) -> bytes:
    return hashlib.sha256(f"{digest} {node.label}".encode()).digest()
