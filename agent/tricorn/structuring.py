"""Strict structuring of untrusted documents (requests, config files) into attrs values, by cattrs.

Nothing is coerced silently: a number isn't text, text isn't a number, unknown keys are refused by name.
Every failure is one InvalidArgument that names the dotted field.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar, get_args, get_origin

import attrs
from cattrs import BaseValidationError, Converter
from cattrs.cols import list_structure_factory
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest

T = TypeVar("T")


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for primitive in (str, int, bool):
        converter.register_structure_hook(primitive, _exactly(primitive))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(datetime, _time)
    converter.register_structure_hook(Digest, lambda value, _: Digest.parse(_exactly(str)(value, str)))
    converter.register_structure_hook_factory(_is_sequence, _sequence_hook)
    converter.register_structure_hook_factory(_is_mapping, _mapping_hook)
    return converter


def structure(raw: Any, cls: type[T], what: str = "document") -> T:
    """Return `raw` (JSON or TOML values) as a `cls`; raise InvalidArgument naming the first bad field."""
    try:
        return _CONVERTER.structure(raw, cls)
    except InvalidArgument:
        raise
    except BaseValidationError as error:
        path, leaf = next(_leaves(error, ()))
        raise _explain(leaf, ".".join(path), what) from None
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _explain(error, "", what) from None


def _leaves(error: BaseException, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], BaseException]]:
    if isinstance(error, ClassValidationError):
        noted, bare = error.group_exceptions()
        for inner, note in noted:
            yield from _leaves(inner, (*path, note.name))
        for inner in bare:
            yield from _leaves(inner, path)
    elif isinstance(error, IterableValidationError):
        indexed, others = error.group_exceptions()
        for inner, place in indexed:
            yield from _leaves(inner, (*path[:-1], f"{path[-1] if path else ''}[{place.index}]"))
        for inner in others:
            yield from _leaves(inner, path)
    else:
        yield path, error


def _explain(leaf: BaseException, field: str, what: str) -> InvalidArgument:
    if isinstance(leaf, InvalidArgument):
        return InvalidArgument(leaf.what, why=leaf.why, hint=leaf.hint, field=field or leaf.field)
    if isinstance(leaf, ForbiddenExtraKeysError):
        unknown = sorted(str(key) for key in leaf.extra_fields)
        prefix = f"{field}." if field else ""
        known = ", ".join(attribute.name for attribute in attrs.fields(leaf.cl))
        return InvalidArgument(
            f"unknown key {prefix + unknown[0]!r} in {what}",
            why=f"all unknown: {', '.join(unknown)}" if len(unknown) > 1 else "",
            hint=f"known keys: {known}",
            field=prefix + unknown[0],
        )
    if isinstance(leaf, KeyError):
        name = str(leaf.args[0])
        return InvalidArgument(f"{what} lacks {name!r}", field=field or name)
    if isinstance(leaf, AttributeError):
        return InvalidArgument(f"{what} is malformed", why="expected an object", field=field or None)
    if " not in literal " in str(leaf):
        value, _, choices = str(leaf).partition(" not in literal typing.Literal")
        return InvalidArgument(f"{value[:80]!r} is none of {choices}", field=field or None)
    return InvalidArgument(f"{what} is malformed", why=str(leaf)[:300], field=field or None)


def _exactly(cls: type[Any]) -> Any:
    names = {str: "text", int: "a whole number", bool: "true or false"}

    def hook(value: Any, _: Any) -> Any:
        if type(value) is not cls:
            raise InvalidArgument(f"expected {names[cls]}, got {_kind(value)}")
        return value

    return hook


def _number(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgument(f"expected a number, got {_kind(value)}")
    return float(value)


def _time(value: Any, _: Any) -> datetime:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise InvalidArgument("expected a time like 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise InvalidArgument("a time needs its offset from UTC, such as Z")
    return moment


def _is_sequence(cls: Any) -> bool:
    return get_origin(cls) is tuple and len(get_args(cls)) == 2 and get_args(cls)[1] is Ellipsis


def _sequence_hook(cls: Any, converter: Converter) -> Any:
    base = list_structure_factory(list[get_args(cls)[0]], converter)  # type: ignore[misc, arg-type]  # built at run time

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise InvalidArgument(f"expected a list, got {_kind(value)}")
        return tuple(base(value, cls))

    return hook


def _is_mapping(cls: Any) -> bool:
    return get_origin(cls) in {Mapping, dict}


def _mapping_hook(cls: Any, converter: Converter) -> Any:
    _, value_type = get_args(cls)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise InvalidArgument(f"expected an object, got {_kind(value)}")
        result = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidArgument(f"expected text as a key, got {_kind(key)}")
            try:
                result[key] = item if value_type is Any else converter.structure(item, value_type)
            except InvalidArgument as error:
                raise InvalidArgument(f"{key[:64]!r}: {error.what}", why=error.why, hint=error.hint) from None
        return result

    return hook


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {
        str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list",
        tuple: "a list", dict: "an object", types.NoneType: "null",
    }  # fmt: skip
    return kinds.get(type(value), type(value).__name__)


_CONVERTER = _converter()
