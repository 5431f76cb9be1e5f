"""Whether files of a dump that have no name any more can be brought back without a trace elsewhere. Pure.

CRIU makes such a file, or a link of it, by its path below the mount, opens and removes it again, all as the
node's root and seen from the node: `..` and links in a path lead to the node's files (criu/files-reg.c). It
makes read-only mounts writable for that.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from tricorn.rules.criu_images import Fields, entries, message_of, number_of, sint_of, text_of
from tricorn.rules.dump_file_images import NAME as FILES
from tricorn.rules.dump_mount_forms import KINDS, is_clean
from tricorn.rules.dump_mount_images import DumpedMount

NAME: Final = "remap-fpath.img"
_LINKED, _GHOST, _GONE_PROCESS = range(3)
_OLD_GHOST: Final = 1 << 31
_OWN_LINK: Final = re.compile(r"link_remap\.[0-9]{1,10}")  # CRIU's name for it; no other may be removed


@frozen
class Place:
    """A directory that CRIU walks to: it must have no link on its way below the mount at `point`."""

    point: str
    below: str


@frozen
class _Named:
    path: str
    mount: int


@frozen
class Remaps:
    """What there is of such files: what is wrong with them, and which directories have to be looked at."""

    wrong: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()


def remaps_of(images: Mapping[str, bytes], mounts: Sequence[DumpedMount]) -> Remaps:
    """Judge the files without a name of a dump. InvalidArgument if it is malformed."""
    files = dict(_files(images[FILES])) if FILES in images else {}
    wrong = [f"a file {one.path[:80]!r}" for one in files.values() if ".." in one.path.split("/")]
    wrong = [f"{what}, whose path leads elsewhere" for what in wrong]
    places = []
    for fields in entries(images[NAME], "remap-fpath", NAME) if NAME in images else ():
        for named in _touched(fields, files):
            mount = next((one for one in mounts if one.id == named.mount), None)
            if why := _unfit(named, mount, mounts):
                wrong.append(f"a deleted file {named.path[:80]!r}, {why}")
            elif mount is not None:
                below = posixpath.dirname(posixpath.relpath(named.path, mount.point))
                places.append(Place(mount.point, below))
    return Remaps(tuple(wrong), tuple(place for place in dict.fromkeys(places) if place.below))


def _files(data: bytes) -> Iterator[tuple[int, _Named]]:
    for fields in entries(data, "files", FILES):
        if 3 in fields:
            found = message_of(fields, 3, FILES)
            yield number_of(found, 1), _Named(text_of(found, 6), sint_of(found, 7))


def _touched(fields: Fields, files: Mapping[int, _Named]) -> Iterator[_Named]:
    """Yield the names that CRIU works by for one remap."""
    target = number_of(fields, 2)
    kind = number_of(fields, 3) if 3 in fields else (_GHOST if target & _OLD_GHOST else _LINKED)
    if kind == _GONE_PROCESS:
        return
    named = files.get(number_of(fields, 1), _Named("", -1))
    yield named
    if kind == _LINKED:
        link = files.get(target, _Named("", -1)).path
        # a name that isn't CRIU's own is no place to be: it would be removed
        yield _Named(link if _OWN_LINK.fullmatch(posixpath.basename(link)) else "", named.mount)


def _unfit(named: _Named, mount: DumpedMount | None, mounts: Sequence[DumpedMount]) -> str:
    """Return why a file can't be brought back by this name, "" if it can."""
    if not named.path or mount is None:
        return "which isn't CRIU's own link"
    if not is_clean(named.path) or not f"{named.path}/".startswith(mount.point.rstrip("/") + "/"):
        return "whose path leads elsewhere"
    if mount.read_only or any(_is_beneath(mount, other) for other in mounts):
        return "on a read-only mount"
    below = posixpath.dirname(posixpath.relpath(named.path, mount.point))
    if mount.external or mount.point == "/":
        return ""
    if KINDS.get(mount.type) != "tmpfs" or below:
        # what is in there comes from the dump, with all of its links
        return "which isn't at the top of its file system"
    return ""


def _is_beneath(mount: DumpedMount, other: DumpedMount) -> bool:
    """Return whether CRIU would reach the file by another mount, which is read-only."""
    return (
        other.read_only
        and other.device == mount.device
        and other.id != mount.id
        and f"{mount.root}/".startswith(other.root.rstrip("/") + "/")
    )
