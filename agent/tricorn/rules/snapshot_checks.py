"""What a request for a snapshot must look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tricorn import limits
from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.model import ids

_MAPPINGS: Final = ("containerd.io/snapshot/uidmapping", "containerd.io/snapshot/gidmapping")


def check_key(key: str) -> None:
    """InvalidArgument for a key that is empty, too long or holds a NUL."""
    if not key or "\0" in key or len(key) > limits.SNAPSHOT_KEY_LENGTH:
        why = "it is empty" if not key else f"at most {limits.SNAPSHOT_KEY_LENGTH} characters, no NUL"
        raise InvalidArgument("a snapshot's key is malformed", why=why, field="key")


def check_labels(labels: Mapping[str, str], snapshotter: str) -> None:
    """InvalidArgument for malformed ones, Unimplemented for those that ask for what isn't there."""
    ids.labels(labels)
    for name in _MAPPINGS:
        if name in labels:
            raise Unimplemented(
                f"snapshotter {snapshotter} does not map the owners of files",
                why=f"the label {name} asks for it",
                hint="let the client change the owners, or leave user namespaces out",
                field="labels",
            )
