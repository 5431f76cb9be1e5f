"""What a request for a snapshot must look like."""

from __future__ import annotations

from tricorn import limits
from tricorn.errors import InvalidArgument


def check_key(key: str) -> None:
    """InvalidArgument for a key that is empty, too long or holds a NUL."""
    if not key or "\0" in key or len(key) > limits.SNAPSHOT_KEY_LENGTH:
        why = "it is empty" if not key else f"at most {limits.SNAPSHOT_KEY_LENGTH} characters, no NUL"
        raise InvalidArgument("a snapshot's key is malformed", why=why, field="key")
