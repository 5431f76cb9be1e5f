"""Builds tar archives byte by byte, so that they can be as wrong as wanted, and watches the outside."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from tricorn.fs.archive import LayerApplier
from tricorn.fs.tarstream import TarStream


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def header(
    name: bytes,
    kind: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: int = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int = 1_000_000_000,
    link: bytes = b"",
    major: int = 0,
    minor: int = 0,
    magic: bytes = b"ustar\00000",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    def field(value: int | bytes, width: int) -> bytes:
        return value if isinstance(value, bytes) else octal(value, width)

    block = bytearray(
        struct.pack(
            "100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x",
            name, octal(mode, 8), field(uid, 8), field(gid, 8), field(size, 12), octal(mtime, 12),
            b" " * 8, kind, link, magic, b"", b"", octal(major, 8), octal(minor, 8), prefix,
        )
    )  # fmt: skip
    block[148:156] = checksum or b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes, content: bytes = b"", kind: bytes = b"0", **fields) -> bytes:
    return header(name, kind, size=len(content), **fields) + padded(content)


def pax(kind: bytes = b"x", **records: bytes) -> bytes:
    return pax_records({key.encode(): value for key, value in records.items()}, kind)


def pax_records(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    data = b""
    for key, value in records.items():
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        data += str(length).encode() + body
    return member(b"PaxHeaders/x", data, kind)


END = bytes(1024)


def split(data: bytes, size: int = 700) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def apply(target: Path, archive: bytes, form: str = "overlay", chunk: int = 700) -> LayerApplier:
    """Apply an archive in this process and return the applier."""
    before = os.umask(0)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        applier = LayerApplier(fd, form)
        stream = TarStream(split(archive, chunk))
        applier.run(stream)
        stream.drain()
        return applier
    finally:
        os.close(fd)
        os.umask(before)


def tree_state(path: Path) -> dict[str, tuple]:
    """Everything about a tree that an escape could change."""
    state = {}
    for directory, names, files in os.walk(path):
        for name in [".", *names, *files]:
            full = os.path.join(directory, name)
            status = os.lstat(full)
            content = ""
            if os.path.isfile(full) and not os.path.islink(full):
                content = hashlib.sha256(Path(full).read_bytes()).hexdigest()
            elif os.path.islink(full):
                content = os.readlink(full)
            xattrs = tuple(
                (key, os.getxattr(full, key, follow_symlinks=False))
                for key in sorted(os.listxattr(full, follow_symlinks=False))
            )
            times = status.st_mtime_ns if name != "." or full != f"{path}/." else 0
            state[os.path.relpath(full, path)] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                0 if name in names or name == "." else status.st_nlink,  # overlay counts no subdirectories
                times,
                content,
                xattrs,
            )
    return state
