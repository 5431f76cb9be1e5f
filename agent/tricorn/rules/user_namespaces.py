"""User namespaces of containers: which ids of theirs are which of the node's. Pure.

A mapping is `CONTAINER:HOST:SIZE`, as containerd's clients and Podman write it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
from attrs import evolve, frozen

from tricorn.errors import FailedPrecondition, InvalidArgument, Unimplemented
from tricorn.model.id_spans import Span
from tricorn.model.records import Container, Snapshot
from tricorn.model.requests import ContainerDesired
from tricorn.ports import FilesystemMount

_CHAIN: Final = re.compile(r"sha256:[0-9a-f]{64}")
_LINE: Final = re.compile(r"(\d{1,10}):(\d{1,10}):(\d{1,10})")
_LAST: Final = 2**32 - 2  # the one after stands for "nobody"
_LINES: Final = 340  # the kernel's own bound
_MAPPED: Final = b'"uidMappings"'
UID_LABEL: Final = "containerd.io/snapshot/uidmapping"  # of snapshots whose files have such owners
GID_LABEL: Final = "containerd.io/snapshot/gidmapping"
UID_OPTION, GID_OPTION = "uidmap=", "gidmap="  # of mounts, as containerd's overlay has them


@frozen
class IdRange:
    """`size` ids from `container` on are those of the node from `host` on."""

    container: int
    host: int
    size: int

    def __str__(self) -> str:
        return f"{self.container}:{self.host}:{self.size}"


@frozen
class IdMaps:
    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]


def is_automatic(desired: ContainerDesired) -> bool:
    """Return whether a container is to have a user namespace of its own, whose ids the agent chooses."""
    return desired.namespaces.get("user") == "private" and not (desired.uid_map or desired.gid_map)


def maps_in(spec: bytes) -> IdMaps | None:
    """Return the mappings in a spec, None where there are none."""
    if _MAPPED not in spec:
        return None
    linux = msgspec.json.decode(spec).get("linux") or {}
    uids, gids = (
        tuple(IdRange(each["containerID"], each["hostID"], each["size"]) for each in linux.get(key) or ())
        for key in ("uidMappings", "gidMappings")
    )
    return IdMaps(uids, gids) if uids and gids else None


def wanted_maps(desired: ContainerDesired) -> IdMaps | None:
    """Return the mappings of a container with a user namespace of its own, None for one without.

    InvalidArgument for malformed or overlapping ones, for a namespace that is joined and has its own, and
    for ids of the node's root: it would be the container's.
    """
    place = desired.namespaces.get("user", "private" if desired.uid_map or desired.gid_map else "host")
    if place != "private":
        if desired.uid_map or desired.gid_map:
            raise InvalidArgument(
                "mappings are for a user namespace of the container's own", field="uid_map",
                why=f"it is to have {place[:100]!r}",
            )  # fmt: skip
        return None
    uids = parse_map(desired.uid_map or desired.gid_map, "uid_map")
    return IdMaps(uids, parse_map(desired.gid_map or desired.uid_map, "gid_map"))


def parse_map(lines: Sequence[str], field: str) -> tuple[IdRange, ...]:
    """Read the lines of one mapping, in the order of the container's ids. InvalidArgument."""
    if not lines:
        raise InvalidArgument(
            "a user namespace needs a mapping", hint="for example `--uidmap 0:100000:65536`", field=field
        )
    if len(lines) > _LINES:
        raise InvalidArgument("the mapping is too long", why=f"at most {_LINES} lines", field=field)
    found = sorted((_range(line, field) for line in lines), key=lambda one: one.container)
    if found[0].container != 0:
        raise InvalidArgument("the container's root must be mapped", hint="0:HOST:SIZE", field=field)
    hosts = sorted(found, key=lambda one: one.host)
    for before, after in pairwise(found):
        _apart(before.container + before.size, after.container, field)
    for before, after in pairwise(hosts):
        _apart(before.host + before.size, after.host, field)
    return tuple(found)


def _range(line: str, field: str) -> IdRange:
    match = _LINE.fullmatch(line)
    if match is None:
        raise InvalidArgument(f"mapping {line[:60]!r} is malformed", hint="CONTAINER:HOST:SIZE", field=field)
    found = IdRange(int(match[1]), int(match[2]), int(match[3]))
    if found.size < 1 or found.container + found.size - 1 > _LAST or found.host + found.size - 1 > _LAST:
        raise InvalidArgument(f"mapping {line} is out of range", why=f"ids end at {_LAST}", field=field)
    if found.host == 0:
        raise InvalidArgument(
            f"mapping {line} is refused", why="it gives the container the node's root", field=field
        )
    return found


def _apart(end: int, start: int, field: str) -> None:
    if end > start:
        raise InvalidArgument("the mapping has an id twice", field=field)


def spec_members(maps: IdMaps) -> dict[str, Any]:
    """Return the members of the spec's `linux` part."""
    return {
        key: [{"containerID": one.container, "hostID": one.host, "size": one.size} for one in ranges]
        for key, ranges in (("uidMappings", maps.uids), ("gidMappings", maps.gids))
    }


def mapped_mounts(mounts: Sequence[FilesystemMount], maps: IdMaps | None) -> tuple[FilesystemMount, ...]:
    """Return the mounts of a root file system as its user namespace is to see it."""
    if maps is None:
        return tuple(mounts)
    words = tuple(
        key + ",".join(map(str, ranges)) for key, ranges in ((UID_OPTION, maps.uids), (GID_OPTION, maps.gids))
    )
    return tuple(evolve(mount, options=(*mount.options, *words)) for mount in mounts)


def labelled_maps(labels: Mapping[str, str]) -> IdMaps | None:
    """Return the mappings that a client wants its snapshot's files to be shown with; None for no such label.

    InvalidArgument for malformed ones, and for one without the other.
    """
    texts = labels.get(UID_LABEL, ""), labels.get(GID_LABEL, "")
    if not any(texts):
        return None
    uids, gids = (
        parse_map(text.split(",") if text else (), f"labels.{name}")
        for text, name in zip(texts, (UID_LABEL, GID_LABEL), strict=True)
    )
    return IdMaps(uids, gids)


def require_unpacked_by_client(parent: str, why: str) -> None:
    """Refuse to let a snapshot whose files are to be shown with other owners stand on an image's layers where
    mounts can't do that. Clients that saw it can't make a copy with such owners, and name that themselves.
    """
    if _CHAIN.fullmatch(parent):
        raise FailedPrecondition(
            "the snapshotter can't show files with other owners here", why=why,
            hint="let the client copy them: `ctr run` without `--remap-labels`", field="labels",
        )  # fmt: skip


def owner_labels(maps: IdMaps) -> dict[str, str]:
    """Return the labels of a snapshot whose files belong to whom they belong to in such a namespace."""
    return {UID_LABEL: ",".join(map(str, maps.uids)), GID_LABEL: ",".join(map(str, maps.gids))}


def shifted_key(top: str, maps: IdMaps) -> str:
    """Return the name of the snapshot that has the files of `top` with such owners."""
    told = ";".join(owner_labels(maps).values())
    return f"{top}-{hashlib.sha256(told.encode()).hexdigest()[:32]}"


def spans_of(maps: IdMaps) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Return the ids of the node that a namespace has: users, groups."""
    uids, gids = (tuple(Span(each.host, each.size) for each in ranges) for ranges in (maps.uids, maps.gids))
    return uids, gids


def is_shifted(snapshot: Snapshot) -> bool:
    """Return whether a snapshot's files belong to the ids of a user namespace already."""
    return UID_LABEL in snapshot.labels


def require_no_maps(desired: ContainerDesired) -> None:
    """Unimplemented for a container of a user namespace that is to go on before it has its memory."""
    if wanted_maps(desired):
        raise Unimplemented(
            "restoring lazily into a user namespace",
            why="the kernel lets nobody in there hand its page faults to another process (userfaultfd)",
            hint="restore it without `--lazy`", field="lazy",
        )  # fmt: skip


def require_same_owners(container: Container, what: str, snapshot: Snapshot | None = None) -> None:
    """Unimplemented for a container whose changed files have other owners on the node than in it."""
    labelled = snapshot is not None and UID_LABEL in snapshot.labels
    if labelled or (container.desired and _MAPPED in container.spec):
        raise Unimplemented(
            f"{what} of container {container.id}",
            why="its user namespace numbers owners otherwise than the node",
            hint="leave its files out, or run it without one",
        )
