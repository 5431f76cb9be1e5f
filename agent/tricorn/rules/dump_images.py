"""What the small images of a CRIU dump say of the processes in it. Pure: bytes in, values out.

Only the fields are read that decide whether a dump fits what a container is granted; whatever can't be read
is refused, for CRIU would restore it all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import Factory, frozen

from tricorn.errors import InvalidArgument
from tricorn.rules.criu_images import (
    Fields,
    bytes_of,
    entries,
    message_of,
    number_of,
    numbers_of,
    only,
    parse,
    text_of,
)
from tricorn.rules.dump_file_images import OpenFile, open_files
from tricorn.rules.dump_mount_images import DumpedMount, mount_of
from tricorn.rules.dump_network_images import handed_on, is_of_network
from tricorn.rules.dump_remaps import Remaps, remaps_of
from tricorn.rules.dump_task_images import Task, task_of

_INVENTORY: Final = 0x58313116
_CAP_WORD: Final = 32
_DEAD: Final = 2  # CRIU's TASK_DEAD
_TSYNC: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC
# The field of a process's ids, and of the inventory's, that tells which namespace of a kind it is in
NAMESPACES: Final = {
    "pid": 5, "network": 6, "ipc": 7, "uts": 8, "mount": 9, "user": 10, "cgroup": 11, "time": 12,
}  # fmt: skip
MACHINES: Final = {1: "amd64", 2: "arm", 3: "arm64", 4: "ppc64le", 5: "s390x", 8: "riscv64"}

_READ: Final = (
    "inventory.", "core-", "creds-", "seccomp.", "mountpoints-", "pstree.", "userns-", "ids-", "files.",
    "remap-fpath.",
)  # fmt: skip

IdLines = tuple[tuple[int, int, int], ...]  # id inside, outside, how many


@frozen
class Thread:
    """The privileges of one dumped thread; the four sets are bit masks."""

    file: str
    machine: str
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int
    no_new_privileges: bool
    seccomp_mode: int  # 0 none, 1 strict, 2 filter
    filter: int | None  # of the dump's filters
    lsm: str
    task: Task = Factory(Task)


@frozen
class Filter:
    """One seccomp program, and the one that was installed before it (None: it is the first)."""

    program: bytes
    previous: int | None
    synced: bool = False  # installed for all threads of the process at once


@frozen
class Dump:
    """`leaders` are the images of processes by those of their other threads."""

    threads: tuple[Thread, ...]
    mounts: tuple[DumpedMount, ...]
    filters: tuple[Filter, ...]
    names: frozenset[str]  # of all files of the dump
    leaders: Mapping[str, tuple[str, ...]] = Factory(dict)
    outside: Mapping[str, int] = Factory(dict)  # which namespaces CRIU itself was in
    inside: Mapping[str, frozenset[int]] = Factory(dict)  # and which the processes
    mappings: Mapping[int, tuple[IdLines, IdLines]] = Factory(dict)  # of users and groups, by namespace
    files: tuple[OpenFile, ...] = ()
    remaps: Remaps = Factory(Remaps)
    handed_on: tuple[str, ...] = ()  # what is wrong with images that programs of the node read


def read_dump(images: Mapping[str, bytes], names: Sequence[str]) -> Dump:
    """Read the images that matter, by name; `names` are all there are. InvalidArgument naming the image."""
    outside = _inventory(images.get("inventory.img", b""))
    images = {name: data for name, data in images.items() if not _is_dead(name, data)}
    threads = [_thread(name, images) for name in sorted(images) if name.startswith("core-")]
    if not threads:
        raise InvalidArgument("the dump has no process in it")
    mounts = [
        mount_of(fields, name)
        for name in sorted(images)
        if name.startswith("mountpoints-")
        for fields in entries(images[name], "mountpoints", name)
    ]
    return Dump(
        tuple(threads), tuple(mounts), _filters(images), frozenset(names), _leaders(images), outside,
        _inside(images), _mappings(images), open_files(images.get("files.img")),
        remaps_of(images, mounts), tuple(handed_on(images)),
    )  # fmt: skip


def wanted(name: str) -> bool:
    """Return whether `read_dump` reads the image of this name."""
    return is_of_network(name) or (name.endswith(".img") and name.startswith(_READ))


# ------------------------------------------------------------ the images
def _inventory(data: bytes) -> dict[str, int]:
    if len(data) < 8 or int.from_bytes(data[:4], "little") != _INVENTORY:
        raise InvalidArgument("the dump has no inventory", why="inventory.img is missing or no CRIU image")
    size = int.from_bytes(data[4:8], "little")
    return _namespaces(message_of(parse(data[8 : 8 + size], "inventory.img"), 3, "inventory.img"))


def _namespaces(ids: Fields) -> dict[str, int]:
    return {kind: number_of(ids, field) for kind, field in NAMESPACES.items() if field in ids}


def _inside(images: Mapping[str, bytes]) -> dict[str, frozenset[int]]:
    """Return which namespaces processes are in; 0, which none is, where a process has nothing that tells."""
    found: dict[str, set[int]] = {kind: set() for kind in NAMESPACES}
    threads = _leaders(images)
    for name in images:
        if not name.startswith("core-"):
            continue
        told = [message_of(only(entries(images[name], "core", name), name), 4, name)]
        other = name.replace("core-", "ids-")
        if other in images:
            told.append(only(entries(images[other], "ids", other), other))
        known = [_namespaces(ids) for ids in told if ids]
        for kind in NAMESPACES:
            found[kind].update(ids.get(kind, 0) for ids in known)
            if not known and name not in threads:
                found[kind].add(0)
    return {kind: frozenset(numbers) for kind, numbers in found.items()}


def _mappings(images: Mapping[str, bytes]) -> dict[int, tuple[IdLines, IdLines]]:
    found = {}
    for name in images:
        number = name.removeprefix("userns-").removesuffix(".img")
        if name.startswith("userns-") and number.isdecimal():
            fields = only(entries(images[name], "userns", name), name)
            found[int(number)] = _id_lines(fields, 1, name), _id_lines(fields, 2, name)
    return found


def _id_lines(fields: Fields, number: int, name: str) -> IdLines:
    parsed = (parse(bytes_of(packed, name), name) for packed in fields.get(number, ()))
    return tuple(sorted((number_of(each, 1), number_of(each, 2), number_of(each, 3)) for each in parsed))


def _is_dead(name: str, data: bytes) -> bool:
    """Return whether this is of a process that has ended and only waits for its parent to ask how. It has
    neither identity nor namespaces; CRIU makes one anew that ends at once.
    """
    if not name.startswith("core-"):
        return False
    core = only(entries(data, "core", name), name)
    return number_of(message_of(core, 3, name), 1) == _DEAD and not core.get(5)


def _thread(name: str, images: Mapping[str, bytes]) -> Thread:
    core = only(entries(images[name], "core", name), name)
    own = message_of(core, 5, name)
    creds = message_of(own, 10, name)
    if not creds:  # older dumps have those of a process in an image of their own
        other = name.replace("core-", "creds-")
        creds = only(entries(images.get(other, b""), "creds", other), other)
    task = message_of(core, 3, name)
    return Thread(
        file=name,
        machine=MACHINES.get(number_of(core, 1), "unknown"),
        uids=tuple(number_of(creds, field) for field in (1, 3, 5, 7)),
        gids=tuple(number_of(creds, field) for field in (2, 4, 6, 8)),
        groups=tuple(numbers_of(creds, 14)),
        inheritable=_caps(creds, 9),
        permitted=_caps(creds, 10),
        effective=_caps(creds, 11),
        bounding=_caps(creds, 12),
        ambient=_caps(creds, 19),
        no_new_privileges=bool(number_of(creds, 18)),
        seccomp_mode=max(number_of(own, 11), number_of(task, 11)),
        filter=number_of(own, 12) if 12 in own else (number_of(task, 12) if 12 in task else None),
        lsm=text_of(creds, 15),
        task=task_of(task, own, name),
    )


def _filters(images: Mapping[str, bytes]) -> tuple[Filter, ...]:
    if "seccomp.img" not in images:
        return ()
    entry = only(entries(images["seccomp.img"], "seccomp", "seccomp.img"), "seccomp.img")
    found = []
    for packed in entry.get(1, ()):
        fields = parse(bytes_of(packed, "seccomp.img"), "seccomp.img")
        program = fields.get(1, [b""])[-1]
        previous = number_of(fields, 2) if 2 in fields else None
        synced = bool(number_of(fields, 3) & _TSYNC)
        found.append(Filter(bytes_of(program, "seccomp.img"), previous, synced))
    return tuple(found)


def _leaders(images: Mapping[str, bytes]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    if "pstree.img" in images:
        for fields in entries(images["pstree.img"], "pstree", "pstree.img"):
            leader = f"core-{number_of(fields, 1)}.img"
            for thread in numbers_of(fields, 5):
                file = f"core-{thread}.img"
                if file != leader:
                    found[file] = (*found.get(file, ()), leader)
    return found


def _caps(fields: Fields, number: int) -> int:
    mask = 0
    for index, word in enumerate(numbers_of(fields, number)):
        mask |= (word & 0xFFFFFFFF) << (_CAP_WORD * index)
    return mask
