"""Checkpoint archives as CRI's runtimes and Podman write them (checkpointctl's lib/metadata.go): which entry
is what, and what their documents say. Pure. All of it is untrusted, and none of it is policy.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from attrs import frozen

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted, Unimplemented

_WHITEOUT: Final = ".wh."
_DIGEST: Final = re.compile(r"(?:.*@)?(?:sha256:)?(?P<hex>[0-9a-f]{64})")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")  # of CRIU: a name, never a path
_NAME: Final = re.compile(r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*")
_NAME_LENGTH: Final = 76  # of an identifier
_LOST: Final = {
    "devshm-checkpoint.tar": "what was in /dev/shm isn't taken over",
    "volumes": "what was in named volumes isn't taken over: bring it, and mount it",
}


class Part(Enum):
    DUMP = "checkpoint"  # a file below it is one of CRIU's images
    RW = "rootfs-diff.tar"
    CONFIG = "config.dump"
    SPEC = "spec.dump"
    DELETED = "deleted.files"
    OTHER = ""


DOCUMENTS: Final = frozenset({Part.CONFIG, Part.SPEC, Part.DELETED})
_PARTS: Final = {part.value: part for part in (Part.RW, *DOCUMENTS)}


@frozen
class Origin:
    """What the archive says of its container; `digest` is that of its image, manifest or config."""

    container: str
    image: str
    digest: str


def part_of(name: str) -> Part:
    """Return what a file of the archive is, by its plain name.

    Unimplemented for a pre-checkpoint and archives of pods, InvalidArgument for a dump that isn't flat.
    """
    first, _, rest = name.partition("/")
    if first == "pre-checkpoint":
        raise Unimplemented("the archive holds a pre-checkpoint", why="a dump that isn't whole by itself")
    if name in {"pod.options", "pod.dump"}:
        raise Unimplemented("the archive holds a whole pod", hint="import the archives of its containers")
    if first != Part.DUMP.value:
        return _PARTS.get(name, Part.OTHER)
    if not _IMAGE.fullmatch(rest):
        raise InvalidArgument("the dump holds more than files", why=f"{name[:80]!r}")
    return Part.DUMP


def warning_of(name: str) -> str:
    """Return what to tell of a file that is left out, "" for those that nobody misses."""
    return _LOST.get(name.partition("/")[0], "")


def origin_of(config: bytes) -> Origin:
    """Read `config.dump`, of CRI's kind or Podman's. InvalidArgument."""
    document = _object(config, Part.CONFIG)
    reference = _text(document, "rootfsImageRef") or _text(document, "rootfsImageID")
    match = _DIGEST.fullmatch(reference)
    image = _text(document, "rootfsImageName") or _text(document, "rootfsImage")
    return Origin(_text(document, "name")[:200], image, f"sha256:{match['hex']}" if match else "")


def checked_spec(spec: bytes) -> Mapping[str, Any]:
    """Read `spec.dump`. InvalidArgument, ResourceExhausted."""
    if len(spec) > limits.ENVIRONMENT_SIZE:
        raise ResourceExhausted(
            f"{Part.SPEC.value} is too large", why=f"over {limits.ENVIRONMENT_SIZE} bytes"
        )
    return _object(spec, Part.SPEC)


def outside_mounts(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Return where a container had files of the host's."""
    mounts = spec.get("mounts")
    found = [item for item in mounts if isinstance(item, dict)] if isinstance(mounts, list) else []
    bound = [item for item in found if item.get("type") == "bind" or "bind" in (item.get("options") or ())]
    return tuple(sorted({_text(item, "destination")[:1024] for item in bound} - {""}))


def whiteouts(deleted: bytes) -> list[bytes]:
    """Return the whiteouts that stand for `deleted.files`, a list of paths. InvalidArgument for others."""
    paths = _json(deleted, Part.DELETED)
    if paths is None:  # what Go writes for none
        return []
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise InvalidArgument(f"{Part.DELETED.value} is malformed", why="it must be a list of paths")
    if len(paths) > limits.TAR_ENTRIES:
        raise ResourceExhausted(f"{Part.DELETED.value} is too long", why=f"over {limits.TAR_ENTRIES} paths")
    return [_whiteout(path) for path in paths]


def _whiteout(path: str) -> bytes:
    plain = posixpath.normpath(path).lstrip("/")
    head, name = posixpath.split(plain)
    if not name or name == "." or ".." in plain.split("/") or "\0" in path or name.startswith(_WHITEOUT):
        raise InvalidArgument(f"{Part.DELETED.value} is malformed", why=f"path {path[:80]!r}")
    return posixpath.join(head, f"{_WHITEOUT}{name}").encode("utf-8", "surrogateescape")


def shown_name(container: str) -> str:
    """Return the name of a container as part of an image's, where it can be one."""
    return container if _NAME.fullmatch(container) and len(container) <= _NAME_LENGTH else "imported"


# ------------------------------------------------------------ JSON
def _object(data: bytes, part: Part) -> dict[str, Any]:
    document = _json(data, part)
    if not isinstance(document, dict):
        raise InvalidArgument(f"{part.value} is malformed", why="it must be a JSON object")
    return document


def _json(data: bytes, part: Part) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{part.value} is malformed", why=str(error)[:200]) from None


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""
