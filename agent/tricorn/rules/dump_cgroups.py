"""Where a dump's processes belong among the control groups: in the container's own, or below. Pure.

CRIU takes paths, names of files and what to write to them from the dump, makes directories and writes as the
node's root: a `..` leads it to any file of the node. And it puts processes into the group that they were
dumped in: only under cgroup v1 runc tells it of another. So all paths of the image are led below the group
that the target's spec names; what leads elsewhere is refused. Limits are the spec's: those of the
container's group are left out, those of groups below it are kept (images/cgroup.proto, criu/cgroup.c).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import frozen

from tricorn.errors import InvalidArgument
from tricorn.rules.criu_images import (
    Fields,
    bytes_of,
    entries,
    image,
    number_of,
    only,
    parse,
)
from tricorn.rules.varints import field, number_field, required

NAME: Final = "cgroup.img"
_LONGEST: Final = 4096  # of a path
_LARGEST: Final = 65536  # of what is written to a file
_DEEPEST: Final = 32
_CONTROLLER: Final = re.compile(rb"(?:name=)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}|")  # "" is cgroup v2
_PROPERTY: Final = re.compile(rb"[a-z0-9_]+(?:\.[a-zA-Z0-9_]+)*")
# They move or stop processes, or run a program of the node's.
_NEVER: Final = frozenset({
    b"cgroup.procs", b"cgroup.threads", b"tasks", b"cgroup.kill", b"cgroup.freeze", b"freezer.state",
    b"release_agent",
})  # fmt: skip


def place_below(data: bytes, group: str, *, namespace: bool) -> bytes:
    """Return the image with all processes in or below `group`, an absolute path; with `namespace` they see no
    more than that. InvalidArgument for one that leads elsewhere or is malformed; one without an entry, which
    leaves processes where they are, stays so.
    """
    if len(data) <= 8:
        list(entries(data, "cgroup", NAME))
        return data
    found = only(entries(data, "cgroup", NAME), NAME)
    sets = [_parsed(packed) for packed in found.get(1, ())]
    controllers = [_Controller.of(_parsed(packed), group.encode(), sets) for packed in found.get(2, ())]
    packed = b"".join(field(1, _set(fields, controllers, namespace=namespace)) for fields in sets)
    packed += b"".join(field(2, controller.packed()) for controller in controllers)
    return image("cgroup", packed)


@frozen
class _Controller:
    """One hierarchy: the names that it goes by, its topmost groups, where those were and where they go."""

    names: tuple[bytes, ...]
    groups: tuple[Fields, ...]
    threaded: int | None
    old: bytes  # "" for the root of the hierarchy, else a path with a slash in front
    new: bytes

    @classmethod
    def of(cls, fields: Fields, group: bytes, sets: Sequence[Fields]) -> _Controller:
        names = tuple(bytes_of(name, NAME) for name in fields.get(1, ()))
        if not names or not all(map(_CONTROLLER.fullmatch, names)):
            raise _refused(f"a controller is called {names[:1]!r}")
        groups = tuple(_parsed(packed) for packed in fields.get(2, ()))
        tops = [_path(b"/" + _bytes(each, 1)) for each in groups]
        roots = {
            _path(_bytes(member, 2))[: number_of(member, 3)]
            for member in _members(sets)
            if _bytes(member, 1) in names and number_of(member, 3)
        }
        if len(roots) > 1:
            raise _refused("there is more than one root of a control group namespace")
        old = roots.pop() if roots else _common(tops)
        threaded = number_of(fields, 3) if 3 in fields else None
        return cls(names, groups, threaded, old.rstrip(b"/"), group.rstrip(b"/"))

    def moved(self, path: bytes) -> bytes:
        if path != self.old and not path.startswith(self.old + b"/"):
            raise _refused(f"{path[:80]!r} isn't below {self.old[:80]!r}")
        rest = path[len(self.old) :]
        return self.new + (rest if rest != b"/" else b"")

    def packed(self) -> bytes:
        packed = b"".join(required(1, name) for name in self.names)
        for each in self.groups:
            top = self.moved(_path(b"/" + _bytes(each, 1)))
            packed += field(2, _group(each, top[1:], own=top == self.new))
        return packed if self.threaded is None else packed + number_field(3, self.threaded)


def _group(fields: Fields, name: bytes, *, own: bool, depth: int = 0) -> bytes:
    """Return a group and those below it. Whom they belong to is left out: they are root's."""
    if depth > _DEEPEST:
        raise _refused("the groups are nested too deeply")
    packed = required(1, name)
    for child in map(_parsed, fields.get(2, ())):
        below = _path(b"/" + _bytes(child, 1))[1:]
        packed += field(2, _group(child, below, own=False, depth=depth + 1))
    limits = b"".join(_properties(fields))
    return packed if own else packed + limits


def _properties(fields: Fields) -> Iterator[bytes]:
    for each in map(_parsed, fields.get(3, ())):
        name, value = _bytes(each, 1), _bytes(each, 2)
        if not _PROPERTY.fullmatch(name) or len(value) > _LARGEST or b"\0" in value:
            raise _refused(f"a limit is called {name[:80]!r}")
        if name not in _NEVER:
            yield field(3, required(1, name) + required(2, value))


def _set(fields: Fields, controllers: Iterable[_Controller], *, namespace: bool) -> bytes:
    packed = number_field(1, number_of(fields, 1))
    for member in _members([fields]):
        name, path = _bytes(member, 1), _path(_bytes(member, 2))
        its = next((each for each in controllers if name in each.names), None)
        if its is None:
            raise _refused(f"a process is in a group of {name[:80]!r}, which there is none of")
        moved = required(1, name) + required(2, its.moved(path))
        if namespace or 3 in member:
            moved += number_field(3, len(its.new))
        packed += field(2, moved)
    return packed


def _members(sets: Iterable[Fields]) -> Iterator[Fields]:
    for fields in sets:
        yield from map(_parsed, fields.get(2, ()))


def _path(path: bytes) -> bytes:
    """Return a path that leads nowhere but down. InvalidArgument for another."""
    parts = path.split(b"/")[1:]
    if not path.startswith(b"/") or len(path) > _LONGEST or b"\0" in path:
        raise _refused(f"{path[:80]!r} is no path")
    if path != b"/" and any(part in (b"", b".", b"..") for part in parts):
        raise _refused(f"{path[:80]!r} leads elsewhere")
    return path


def _common(tops: Sequence[bytes]) -> bytes:
    return posixpath.commonpath(tops) if tops else b"/"


def _parsed(packed: int | bytes) -> Fields:
    return parse(bytes_of(packed, NAME), NAME)


def _bytes(fields: Fields, number: int) -> bytes:
    return bytes_of(fields.get(number, [b""])[-1], NAME)


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument("the dump's control groups are malformed", why=why)
