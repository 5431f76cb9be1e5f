"""Mounts that clients name: whoever may send them is as good as root, so this only keeps them well formed.

What is refused is what would mean something else to the kernel than to a reader: relative paths, `..`,
options that smuggle further ones in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

from tricorn import limits
from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.ports import FilesystemMount

_BINDS: Final = frozenset({"bind", "none", ""})
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_KEY: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
_OVERLAY_PATHS: Final = frozenset({"upperdir", "workdir"})
_OPTIONS: Final = 64
_LOWER: Final = re.compile(r"(?<!\\):")
_BINDING: Final = frozenset({"bind", "rbind"})
_FIELD: Final = "mounts.options"


def checked(type: str, source: str, options: Sequence[str], target: str = "") -> FilesystemMount:
    """Return the mount if it is well formed. InvalidArgument naming what isn't; Unimplemented for mounts
    below another one and for kinds that a mount manager's plugins would have to make.
    """
    if target not in ("", "/"):
        raise Unimplemented("a mount below another one", why=repr(target[:200]), field="mounts.target")
    kind = _kind(type, options)
    if len(options) > _OPTIONS:
        raise InvalidArgument(f"{len(options)} mount options", why=f"at most {_OPTIONS}", field=_FIELD)
    if kind == "bind":
        _check_path(source, "mounts.source")
    for option in options:
        _check_option(kind, option)
    return FilesystemMount(kind, source, tuple(options))


def _kind(type: str, options: Sequence[str]) -> str:
    if "/" in type:
        why = "there is no plugin that makes such mounts"
        raise Unimplemented(f"mount type {type[:64]!r}", why=why, field="mounts.type")
    if type in _BINDS:
        if not _BINDING.intersection(options):
            why = "it has no meaning without the option bind or rbind"
            raise InvalidArgument(f"a mount of type {type!r}", why=why, field="mounts.type")
        return "bind"
    if not _TYPE.fullmatch(type):
        raise InvalidArgument(f"mount type {type[:64]!r} is malformed", field="mounts.type")
    return type


def _check_option(kind: str, option: str) -> None:
    key, equals, value = option.partition("=")
    joined = "," in value and kind != "overlay"
    if not _KEY.fullmatch(key) or joined or "\0" in value or "\n" in value:
        raise InvalidArgument(f"mount option {option[:100]!r} is malformed", field=_FIELD)
    if kind == "overlay" and equals:
        for path in _paths(key, value):
            _check_path(path, f"{_FIELD}.{key}")


def _paths(key: str, value: str) -> Iterator[str]:
    if key in _OVERLAY_PATHS:
        yield value
    elif key == "lowerdir":
        lowers = _LOWER.split(value)
        if len(lowers) > limits.LAYERS_PER_IMAGE:
            why = f"overlay takes at most {limits.LAYERS_PER_IMAGE}"
            raise InvalidArgument(f"{len(lowers)} layers", why=why, field=_FIELD)
        yield from (lower.replace("\\:", ":") for lower in lowers)


def _check_path(path: str, field: str) -> None:
    clean = path == "/" or os.path.normpath(path) == path.rstrip("/")
    if not os.path.isabs(path) or "\0" in path or not clean:
        why = "it must be absolute and clean, without `..`"
        raise InvalidArgument(f"{path[:200]!r} is no path of a mount", why=why, field=field)
