"""What the small images of a CRIU dump say of the processes in it. Pure: bytes in, values out.

The images are protobuf messages with a header each (criu's images/*.proto, criu/include/magic.h). Only the
fields are read that decide whether a dump fits what a container is granted; whatever can't be read is
refused, for CRIU would restore it all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import Factory, frozen

from tricorn.errors import InvalidArgument
from tricorn.rules.varints import varint

_COMMON: Final = 0x54564319
_MAGICS: Final = {
    "core": 0x55053847, "creds": 0x54023547, "seccomp": 0x64413049, "mountpoints": 0x55563928,
    "pstree": 0x50273030, "userns": 0x55474906, "ids": 0x54432030,
}  # fmt: skip
_INVENTORY: Final = 0x58313116
_CAP_WORD: Final = 32
_READ_ONLY: Final = 1  # MS_RDONLY
_DEAD: Final = 2  # CRIU's TASK_DEAD
_TSYNC: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC
# The field of a process's ids, and of the inventory's, that tells which namespace of a kind it is in
NAMESPACES: Final = {"pid": 5, "network": 6, "ipc": 7, "uts": 8, "mount": 9, "user": 10}
MACHINES: Final = {1: "amd64", 2: "arm", 3: "arm64", 4: "ppc64le", 5: "s390x", 8: "riscv64"}

Fields = Mapping[int, Sequence[int | bytes]]
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


def read_dump(images: Mapping[str, bytes], names: Sequence[str]) -> Dump:
    """Read the images that matter, by name; `names` are all there are. InvalidArgument naming the image."""
    outside = _inventory(images.get("inventory.img", b""))
    images = {name: data for name, data in images.items() if not _is_dead(name, data)}
    threads = [_thread(name, images) for name in sorted(images) if name.startswith("core-")]
    if not threads:
        raise InvalidArgument("the dump has no process in it")
    mounts = [
        _mount(fields, name)
        for name in sorted(images)
        if name.startswith("mountpoints-")
        for fields in _entries(images[name], "mountpoints", name)
    ]
    return Dump(
        tuple(threads), tuple(mounts), _filters(images), frozenset(names), _leaders(images), outside,
        _inside(images), _mappings(images),
    )  # fmt: skip


def wanted(name: str) -> bool:
    """Return whether `read_dump` reads the image of this name."""
    return name.endswith(".img") and name.startswith(
        ("inventory.", "core-", "creds-", "seccomp.", "mountpoints-", "pstree.", "userns-", "ids-")
    )


# ------------------------------------------------------------ the images
def _inventory(data: bytes) -> dict[str, int]:
    if len(data) < 8 or int.from_bytes(data[:4], "little") != _INVENTORY:
        raise InvalidArgument("the dump has no inventory", why="inventory.img is missing or no CRIU image")
    size = int.from_bytes(data[4:8], "little")
    return _namespaces(_message(_parse(data[8 : 8 + size], "inventory.img"), 3, "inventory.img"))


def _namespaces(ids: Fields) -> dict[str, int]:
    return {kind: _number(ids, field) for kind, field in NAMESPACES.items() if field in ids}


def _inside(images: Mapping[str, bytes]) -> dict[str, frozenset[int]]:
    """Return which namespaces processes are in; 0, which none is, where a process has nothing that tells."""
    found: dict[str, set[int]] = {kind: set() for kind in NAMESPACES}
    threads = _leaders(images)
    for name in images:
        if not name.startswith("core-"):
            continue
        told = [_message(_only(_entries(images[name], "core", name), name), 4, name)]
        other = name.replace("core-", "ids-")
        if other in images:
            told.append(_only(_entries(images[other], "ids", other), other))
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
            fields = _only(_entries(images[name], "userns", name), name)
            found[int(number)] = _id_lines(fields, 1, name), _id_lines(fields, 2, name)
    return found


def _id_lines(fields: Fields, number: int, name: str) -> IdLines:
    parsed = (_parse(_bytes(packed, name), name) for packed in fields.get(number, ()))
    return tuple(sorted((_number(each, 1), _number(each, 2), _number(each, 3)) for each in parsed))


def _is_dead(name: str, data: bytes) -> bool:
    """Return whether this is of a process that has ended and only waits for its parent to ask how. It has
    neither identity nor namespaces; CRIU makes one anew that ends at once.
    """
    if not name.startswith("core-"):
        return False
    core = _only(_entries(data, "core", name), name)
    return _number(_message(core, 3, name), 1) == _DEAD and not core.get(5)


def _thread(name: str, images: Mapping[str, bytes]) -> Thread:
    core = _only(_entries(images[name], "core", name), name)
    own = _message(core, 5, name)
    creds = _message(own, 10, name)
    if not creds:  # older dumps have those of a process in an image of their own
        other = name.replace("core-", "creds-")
        creds = _only(_entries(images.get(other, b""), "creds", other), other)
    task = _message(core, 3, name)
    return Thread(
        file=name,
        machine=MACHINES.get(_number(core, 1), "unknown"),
        uids=tuple(_number(creds, field) for field in (1, 3, 5, 7)),
        gids=tuple(_number(creds, field) for field in (2, 4, 6, 8)),
        groups=tuple(_numbers(creds, 14)),
        inheritable=_caps(creds, 9),
        permitted=_caps(creds, 10),
        effective=_caps(creds, 11),
        bounding=_caps(creds, 12),
        ambient=_caps(creds, 19),
        no_new_privileges=bool(_number(creds, 18)),
        seccomp_mode=max(_number(own, 11), _number(task, 11)),
        filter=_number(own, 12) if 12 in own else (_number(task, 12) if 12 in task else None),
        lsm=_text(creds, 15),
    )


def _mount(fields: Fields, name: str) -> DumpedMount:
    if 7 not in fields or 2 not in fields:
        raise InvalidArgument(f"a mount in {name} is incomplete")
    return DumpedMount(
        _number(fields, 2), _number(fields, 4), _text(fields, 7), _text(fields, 6), _number(fields, 1),
        _text(fields, 8), bool(_number(fields, 13)) or 18 in fields, _text(fields, 18), _text(fields, 14),
        bool((_number(fields, 5) | _number(fields, 17)) & _READ_ONLY),
    )  # fmt: skip


def _filters(images: Mapping[str, bytes]) -> tuple[Filter, ...]:
    if "seccomp.img" not in images:
        return ()
    entry = _only(_entries(images["seccomp.img"], "seccomp", "seccomp.img"), "seccomp.img")
    found = []
    for packed in entry.get(1, ()):
        fields = _parse(_bytes(packed, "seccomp.img"), "seccomp.img")
        program = fields.get(1, [b""])[-1]
        previous = _number(fields, 2) if 2 in fields else None
        synced = bool(_number(fields, 3) & _TSYNC)
        found.append(Filter(_bytes(program, "seccomp.img"), previous, synced))
    return tuple(found)


def _leaders(images: Mapping[str, bytes]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    if "pstree.img" in images:
        for fields in _entries(images["pstree.img"], "pstree", "pstree.img"):
            leader = f"core-{_number(fields, 1)}.img"
            for thread in _numbers(fields, 5):
                file = f"core-{thread}.img"
                if file != leader:
                    found[file] = (*found.get(file, ()), leader)
    return found


# ------------------------------------------------------------ the format
def _entries(data: bytes, kind: str, name: str) -> Iterator[Fields]:
    """Yield the messages of an image: the common magic, the kind's, then size and message of each."""
    magics = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    if len(data) < 8 or magics != (_COMMON, _MAGICS[kind]):
        raise InvalidArgument(f"{name} of the dump is no CRIU image of its kind")
    at = 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + size > len(data):
            raise InvalidArgument(f"{name} of the dump is cut off")
        yield _parse(data[at + 4 : at + 4 + size], name)
        at += 4 + size


def _only(entries: Iterator[Fields], name: str) -> Fields:
    found = list(entries)
    if len(found) != 1:
        raise InvalidArgument(f"{name} of the dump has {len(found)} entries", why="it must have one")
    return found[0]


def _parse(data: bytes, name: str) -> dict[int, list[int | bytes]]:
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at, name)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(data, at, name)
        else:
            size, at = (8, at) if kind == 1 else (4, at) if kind == 5 else _varint(data, at, name)
            if kind not in (1, 2, 5) or at + size > len(data):
                raise InvalidArgument(f"{name} of the dump is malformed")
            value, at = data[at : at + size], at + size
        fields.setdefault(number, []).append(value)
    return fields


def _varint(data: bytes, at: int, name: str) -> tuple[int, int]:
    try:
        return varint(data, at)
    except ValueError:
        raise InvalidArgument(f"{name} of the dump is malformed") from None


def _message(fields: Fields, number: int, name: str) -> Fields:
    """Return a message inside another; of several the pieces are merged, as protobuf has it."""
    merged: dict[int, list[int | bytes]] = {}
    for packed in fields.get(number, ()):
        for key, values in _parse(_bytes(packed, name), name).items():
            merged.setdefault(key, []).extend(values)
    return merged


def _bytes(value: int | bytes, name: str) -> bytes:
    if isinstance(value, int):
        raise InvalidArgument(f"{name} of the dump is malformed")
    return value


def _number(fields: Fields, number: int) -> int:
    value = fields.get(number, [0])[-1]
    return value if isinstance(value, int) else int.from_bytes(value, "little")


def _numbers(fields: Fields, number: int) -> Iterator[int]:
    """Yield a repeated number, packed or not."""
    for value in fields.get(number, ()):
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            one, at = _varint(value, at, "a list")
            yield one


def _caps(fields: Fields, number: int) -> int:
    mask = 0
    for index, word in enumerate(_numbers(fields, number)):
        mask |= (word & 0xFFFFFFFF) << (_CAP_WORD * index)
    return mask


def _text(fields: Fields, number: int) -> str:
    value = fields.get(number, [b""])[-1]
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else ""
