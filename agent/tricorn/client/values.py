"""JSON answers as the attrs values of `tricorn.model`. Fields that a newer agent adds are ignored."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from tricorn.errors import Internal
from tricorn.model.ids import Digest

T = TypeVar("T")


def value(raw: Any, cls: type[T]) -> T:
    """Return `raw` as a `cls`; Internal when the agent's answer doesn't fit."""
    try:
        return msgspec.convert(raw, cls, dec_hook=_special)
    except msgspec.ValidationError as error:
        raise Internal(f"the agent's answer isn't a {cls.__name__}", why=str(error)) from error


def values(raw: Any, cls: type[T]) -> list[T]:
    """Return the items of a list answer."""
    if not isinstance(raw, dict) or not isinstance(raw.get("items"), list):
        raise Internal("the agent's answer is no list", why=str(raw)[:200])
    return [value(item, cls) for item in raw["items"]]


def plain(body: Any) -> Any:
    """Return an attrs value as what JSON can hold."""
    return msgspec.to_builtins(body)


def _special(cls: type[Any], raw: Any) -> Any:
    if cls is Digest and isinstance(raw, str):
        return Digest(raw)
    raise NotImplementedError(f"no way to make a {cls.__name__}")
