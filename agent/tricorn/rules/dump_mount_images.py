"""What a CRIU dump says of one mount (images/mnt.proto). Pure."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from tricorn.errors import InvalidArgument
from tricorn.rules.criu_images import Fields, number_of, text_of

_READ_ONLY: Final = 1  # MS_RDONLY


@frozen
class DumpedMount:
    """One mount; `key` is what an external one is called ("" for others), `external` whether it is one."""

    id: int
    parent: int
    point: str
    root: str
    type: int
    source: str
    external: bool
    key: str
    name: str  # of a file system that CRIU has no number for
    read_only: bool
    image: str = ""  # that it is in: one for each mount namespace
    device: int = 0
    flags: int = 0  # MS_… of the mount
    kept: int = 0  # and of its file system
    options: str = ""
    shared: int = 0  # the groups that mounts are propagated in
    master: int = 0
    plugin: bool = False  # restored by a plugin of CRIU's
    deleted: bool = False  # its root was deleted: CRIU makes it anew


def mount_of(fields: Fields, name: str) -> DumpedMount:
    """Return the mount of an entry. InvalidArgument for one without a number or a place."""
    if 7 not in fields or 2 not in fields:
        raise InvalidArgument(f"a mount in {name} is incomplete")
    flags, kept = number_of(fields, 5), number_of(fields, 17)
    older = bool(number_of(fields, 13))  # has its key in place of the root
    return DumpedMount(
        id=number_of(fields, 2),
        parent=number_of(fields, 4),
        point=text_of(fields, 7),
        root=text_of(fields, 6),
        type=number_of(fields, 1),
        source=text_of(fields, 8),
        external=older or 18 in fields,
        key=text_of(fields, 6 if older else 18),
        name=text_of(fields, 14),
        read_only=bool((flags | kept) & _READ_ONLY),
        image=name,
        device=number_of(fields, 3),
        flags=flags,
        kept=kept,
        options=text_of(fields, 9),
        shared=number_of(fields, 10),
        master=number_of(fields, 11),
        plugin=bool(number_of(fields, 12)),
        deleted=bool(number_of(fields, 16)),
    )
