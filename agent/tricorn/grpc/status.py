"""Outcomes of calls: codes, statuses, and the error that carries one (grpc's statuscodes.md)."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from attrs import frozen

_PLAIN: Final = frozenset(range(0x20, 0x7F)) - {ord("%")}
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_MESSAGE: Final = 4096  # bytes of a message that travel: trailers are headers, and clients bound those


class Code(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@frozen
class Status:
    """How a call ended. `details` is a serialised google.rpc.Status, or nothing."""

    code: Code
    message: str = ""
    details: bytes = b""


class RpcError(Exception):
    """A call ended with another status than OK. Handlers may raise it, clients get it."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"{status.code.name}: {status.message}")
        self.status = status

    @classmethod
    def of(cls, code: Code, message: str) -> RpcError:
        return cls(Status(code, message))


def encode_message(text: str) -> bytes:
    """Return `text` percent-encoded as `grpc-message` wants it, cut to a bearable length."""
    raw = text.encode("utf-8", "replace")
    if len(raw) > _MESSAGE:
        raw = raw[:_MESSAGE].decode("utf-8", "ignore").encode()
    if raw.isascii() and b"%" not in raw and raw.decode("ascii").isprintable():
        return raw
    return b"".join(bytes((byte,)) if byte in _PLAIN else b"%%%02X" % byte for byte in raw)


def decode_message(raw: bytes) -> str:
    """Return the text of a `grpc-message`. Never fails: what isn't an escape stands for itself."""
    plain = _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), raw)
    return plain.decode("utf-8", "replace")


def code_of(number: int) -> Code:
    """Return the code, UNKNOWN for numbers that have none."""
    try:
        return Code(number)
    except ValueError:
        return Code.UNKNOWN


_BY_HTTP: Final = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}


def status_of_http(number: int) -> Status:
    """Return what an answer without a gRPC status means (grpc's http-grpc-status-mapping)."""
    return Status(_BY_HTTP.get(number, Code.UNKNOWN), f"the server answered with HTTP status {number}")
