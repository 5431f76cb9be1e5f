"""Headers of calls: what of them is gRPC's, what is the caller's metadata, and how they are checked.

h2's own checks are off, since they cost a tenth of a call: these take their place.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from tricorn.grpc.status import Code, RpcError

Fields = list[tuple[bytes, bytes]]
_NAME: Final = re.compile(rb"[0-9a-z!#$%&'*+\-.^_`|~]+")
_VALUE: Final = re.compile(rb"[^\x00\r\n]*")
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_NOT_METADATA: Final = frozenset({b"content-type", b"te", b"content-length"})


class MalformedHeaders(Exception):
    """The header list breaks HTTP/2 (RFC 9113, 8.2 and 8.3): its stream is reset, nothing else."""


@frozen
class Request:
    """A call's headers. `binary` are the `-bin` entries of the metadata, decoded."""

    method: str
    path: str
    content_type: str
    timeout: str
    encoding: str
    metadata: dict[str, str]
    binary: dict[str, bytes]


def parse_request(fields: Fields) -> Request:
    """Sort a request's headers. Raises MalformedHeaders; RpcError for metadata that can't be decoded."""
    pseudo, rest = _split(fields)
    if not pseudo.keys() >= {b":method", b":scheme", b":path"}:
        raise MalformedHeaders("pseudo headers are missing")
    metadata, binary = _metadata(rest)
    plain = {name: value for name, value in rest if name in _NOT_METADATA}
    return Request(
        method=pseudo[b":method"].decode("ascii", "replace"),
        path=pseudo[b":path"].decode("utf-8", "replace"),
        content_type=plain.get(b"content-type", b"").decode("ascii", "replace"),
        timeout=metadata.pop("grpc-timeout", ""),
        encoding=metadata.pop("grpc-encoding", "identity"),
        metadata=metadata,
        binary=binary,
    )


def _split(fields: Fields) -> tuple[dict[bytes, bytes], Fields]:
    pseudo: dict[bytes, bytes] = {}
    rest: Fields = []
    for name, value in fields:
        if name[:1] == b":":
            if rest or name not in _PSEUDO or name in pseudo or not _VALUE.fullmatch(value):
                raise MalformedHeaders("a pseudo header is unknown, doubled, malformed or late")
            pseudo[name] = value
        else:
            check_field(name, value)
            rest.append((name, value))
    return pseudo, rest


def check_field(name: bytes, value: bytes) -> None:
    """Raise MalformedHeaders unless HTTP/2 allows the field."""
    if not _NAME.fullmatch(name) or name in _CONNECTION or (name == b"te" and value != b"trailers"):
        raise MalformedHeaders("a header's name isn't allowed")
    if not _VALUE.fullmatch(value):
        raise MalformedHeaders("a header's value has control characters")


def _metadata(fields: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], dict[str, bytes]]:
    metadata: dict[str, str] = {}
    binary: dict[str, bytes] = {}
    for name, value in fields:
        key = name.decode("ascii")
        if name in _NOT_METADATA:
            continue
        if key.endswith("-bin"):
            binary[key] = _binary(key, value)
        else:
            text = value.decode("utf-8", "replace")
            metadata[key] = f"{metadata[key]},{text}" if key in metadata else text
    return metadata, binary


def _binary(name: str, value: bytes) -> bytes:
    first = value.partition(b",")[0].strip()
    try:
        return base64.b64decode(first.rstrip(b"=") + b"=" * (-len(first.rstrip(b"=")) % 4), validate=True)
    except binascii.Error:
        raise RpcError.of(Code.INTERNAL, f"the metadata {name[:60]} isn't base64") from None


def parse_trailers(fields: Fields) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return metadata and binary metadata of an answer's headers or trailers, pseudo headers included."""
    pseudo = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields if name[:1] == b":"}
    metadata, binary = _metadata(
        (name, value) for name, value in fields if name[:1] != b":" and name.isascii()
    )
    return pseudo | metadata, binary


def parse_timeout(text: str) -> float:
    """Return the seconds of a `grpc-timeout`; raise RpcError when it is malformed."""
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise RpcError.of(Code.INTERNAL, f"malformed grpc-timeout: {text[:20]!r}")
    return int(match[1]) * _UNITS[match[2]]


def encode_timeout(seconds: float) -> bytes:
    """Return `seconds` as a `grpc-timeout`, rounded up, in the finest unit that fits eight digits."""
    for unit, size in (("u", 1e-6), ("m", 1e-3), ("S", 1.0), ("M", 60.0), ("H", 3600.0)):
        count = max(0, -int(-seconds // size))
        if count < 10**8:
            return b"%d%s" % (count, unit.encode())
    return b"99999999H"


def encode_metadata(name: str, value: str | bytes) -> tuple[bytes, bytes]:
    """Return one entry as a header; raise ValueError when gRPC doesn't allow it."""
    key = name.encode("ascii")
    binary = key.endswith(b"-bin")
    if not _NAME.fullmatch(key) or key in _CONNECTION | _NOT_METADATA or key.startswith(b"grpc-"):
        raise ValueError(f"{name!r} can't be the name of metadata")
    if isinstance(value, bytes) is not binary:
        raise ValueError(f"the value of {name} must be {'bytes' if binary else 'text'}")
    if isinstance(value, bytes):
        return key, base64.b64encode(value).rstrip(b"=")
    raw = value.encode("utf-8")
    if not _VALUE.fullmatch(raw):
        raise ValueError(f"the value of {name} has control characters")
    return key, raw
