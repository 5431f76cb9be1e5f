"""Identifiers, digests and labels: parsed once at the edge, trusted afterwards.

Grammar and lengths are containerd's: `^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$`, 1 to 76 characters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from tricorn import limits
from tricorn.errors import InvalidArgument

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_DIGEST_LENGTHS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX: Final = re.compile(r"[0-9a-f]+")


def identifier(value: str, field: str = "id") -> str:
    """Return `value` if it is a valid identifier; raise InvalidArgument naming `field` otherwise."""
    if len(value) > limits.IDENTIFIER_LENGTH:
        raise InvalidArgument(
            "identifier too long",
            why=f"{len(value)} characters, at most {limits.IDENTIFIER_LENGTH}",
            field=field,
        )
    if not _IDENTIFIER.fullmatch(value):
        raise InvalidArgument(
            f"identifier {value!r} is malformed",
            why="it must match [A-Za-z0-9]+([._-][A-Za-z0-9]+)*",
            hint="use letters and digits, separated by single dots, dashes or underscores",
            field=field,
        )
    return value


def namespace(value: str, field: str = "namespace") -> str:
    """Return `value` if it may name a namespace (an identifier other than `version`)."""
    if identifier(value, field) == "version":
        raise InvalidArgument("namespace 'version' is reserved", field=field)
    return value


class Digest(str):
    """`algorithm:hex`, validated: safe to use as a path component after `parse` has returned."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: str, field: str = "digest") -> Digest:
        """Return the digest `value` stands for; raise InvalidArgument naming `field`."""
        algorithm, colon, encoded = value.partition(":")
        length = _DIGEST_LENGTHS.get(algorithm)
        if not colon or length is None:
            raise InvalidArgument(
                f"digest {value[:160]!r} is malformed",
                why="expected sha256:, sha384: or sha512: followed by lower-case hexadecimal digits",
                field=field,
            )
        if len(encoded) != length or not _HEX.fullmatch(encoded):
            raise InvalidArgument(
                f"digest {value[:160]!r} is malformed",
                why=f"{algorithm} takes {length} lower-case hexadecimal digits",
                field=field,
            )
        return cls(value)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of `data`."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first twelve hexadecimal digits, for people."""
        return self.hex[:12]


def labels(values: Mapping[str, str], field: str = "labels") -> dict[str, str]:
    """Return a checked copy of `values`: key and value together take at most 4096 bytes each pair."""
    if len(values) > limits.LABELS_PER_OBJECT:
        raise InvalidArgument(
            f"{len(values)} labels", why=f"at most {limits.LABELS_PER_OBJECT} per object", field=field
        )
    for key, value in values.items():
        if not key:
            raise InvalidArgument("a label's key is empty", field=field)
        size = len(key.encode()) + len(value.encode())
        if size > limits.LABEL_SIZE:
            raise InvalidArgument(
                f"label {key[:64]!r} is too large",
                why=f"{size} bytes, at most {limits.LABEL_SIZE}",
                field=f"{field}.{key[:64]}",
            )
    return dict(values)
