"""JSON in and out: bodies become attrs values by strict structuring, values become JSON by msgspec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import msgspec

from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.structuring import structure

T = TypeVar("T")


def encode(value: object) -> bytes:
    """Return `value` (attrs values, JSON values, times, digests) as JSON."""
    return _ENCODER.encode(value)


def encode_line(value: object) -> bytes:
    """Return `value` as one line of NDJSON."""
    return _ENCODER.encode(value) + b"\n"


def decode_body(data: bytes, cls: type[T]) -> T:
    """Return the request's body as a `cls`; an empty body stands for `{}` where nothing is required.

    Raises InvalidArgument naming the first bad field.
    """
    if not data.strip():
        if _required(cls):
            raise InvalidArgument("the request has no body", hint=f"send a JSON object with {_required(cls)}")
        return structure({}, cls, "the request")
    value = parse(data)
    if not isinstance(value, dict):
        raise InvalidArgument("the request's body must be a JSON object")
    return structure(value, cls, "the request")


def refuse_body(data: bytes) -> None:
    """Raise InvalidArgument unless the body is empty or an empty object."""
    if data.strip() and parse(data) != {}:
        raise InvalidArgument("this call takes no body", hint="its parameters go into path and query")


def parse(data: bytes) -> Any:
    """Return the JSON value; raise InvalidArgument when it is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidArgument("the request's body isn't JSON", why=str(error)[:200]) from None


def _required(cls: type[Any]) -> str:
    names = [item.name for item in attrs.fields(cls) if item.default is attrs.NOTHING]
    return ", ".join(names)


def _plain(value: object) -> object:
    if isinstance(value, Digest):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
