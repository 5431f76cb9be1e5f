"""The format of CRIU's small images: protobuf messages with a header each (criu's images/*.proto,
criu/include/magic.h). Pure: bytes in, values out, and back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tricorn.errors import InvalidArgument
from tricorn.rules.varints import varint

_COMMON: Final = 0x54564319
_MAGICS: Final = {
    "core": 0x55053847, "creds": 0x54023547, "seccomp": 0x64413049, "mountpoints": 0x55563928,
    "pstree": 0x50273030, "userns": 0x55474906, "ids": 0x54432030, "cgroup": 0x59383330,
    "files": 0x56303138, "remap-fpath": 0x59133954, "ghost-file": 0x52583605,
    "netdev": 0x57373951, "netns": 0x55933752,
}  # fmt: skip

Fields = Mapping[int, Sequence[int | bytes]]


def entries(data: bytes, kind: str, name: str) -> Iterator[Fields]:
    """Yield the messages of an image: the common magic, the kind's, then size and message of each."""
    magics = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    if len(data) < 8 or magics != (_COMMON, _MAGICS[kind]):
        raise InvalidArgument(f"{name} of the dump is no CRIU image of its kind")
    at = 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + size > len(data):
            raise InvalidArgument(f"{name} of the dump is cut off")
        yield parse(data[at + 4 : at + 4 + size], name)
        at += 4 + size


def only(messages: Iterator[Fields], name: str) -> Fields:
    """Return the one message of an image. InvalidArgument if there is another number of them."""
    found = list(messages)
    if len(found) != 1:
        raise InvalidArgument(f"{name} of the dump has {len(found)} entries", why="it must have one")
    return found[0]


def parse(data: bytes, name: str) -> dict[int, list[int | bytes]]:
    """Return the fields of a message by number, each with all of its values. InvalidArgument."""
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


def message_of(fields: Fields, number: int, name: str) -> Fields:
    """Return a message inside another; of several the pieces are merged, as protobuf has it."""
    merged: dict[int, list[int | bytes]] = {}
    for packed in fields.get(number, ()):
        for key, values in parse(bytes_of(packed, name), name).items():
            merged.setdefault(key, []).extend(values)
    return merged


def bytes_of(value: int | bytes, name: str) -> bytes:
    """Return what has to be bytes: a text, or a message. InvalidArgument for a number."""
    if isinstance(value, int):
        raise InvalidArgument(f"{name} of the dump is malformed")
    return value


def number_of(fields: Fields, number: int) -> int:
    """Return a number, of several the last, 0 for none."""
    value = fields.get(number, [0])[-1]
    return value if isinstance(value, int) else int.from_bytes(value, "little")


def sint_of(fields: Fields, number: int) -> int:
    """Return a number that is a sint32, of which CRIU reads 32 bits, 0 for none."""
    value = number_of(fields, number) & 0xFFFFFFFF
    return (value >> 1) ^ -(value & 1)


def numbers_of(fields: Fields, number: int) -> Iterator[int]:
    """Yield a repeated number, packed or not."""
    for value in fields.get(number, ()):
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            one, at = _varint(value, at, "a list")
            yield one


def text_of(fields: Fields, number: int) -> str:
    """Return a text, of several the last, "" for none; bytes that aren't UTF-8 are kept as surrogates."""
    value = fields.get(number, [b""])[-1]
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else ""


def image(kind: str, message: bytes) -> bytes:
    """Return an image of one message."""
    magics = _COMMON.to_bytes(4, "little") + _MAGICS[kind].to_bytes(4, "little")
    return magics + len(message).to_bytes(4, "little") + message
