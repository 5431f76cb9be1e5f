"""Writes a tar archive: ustar, with PAX records where a field doesn't fit. The same members, the same bytes.

Times are whole seconds, as the reference writes them. Imported by the children of the fork server: no
third-party module.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final

from tricorn import limits
from tricorn.errors import ResourceExhausted
from tricorn.fs.tarheader import BLOCK, DIRECTORY, PAX_LOCAL, REGULAR, ZERO_BLOCK

_HEADER: Final = Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_OCTAL_ID: Final = 0o7777777
_OCTAL_LONG: Final = 0o77777777777
_NAME: Final = 100
_READ: Final = 256 * limits.KIB
_FLUSH: Final = 512 * limits.KIB
_XATTR: Final = b"SCHILY.xattr."

Sink = Callable[[bytes], None]


class TarWriter:
    """Hands the archive to `sink` in large pieces. Raises ResourceExhausted over the bounds of a layer."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pieces: list[bytes] = []
        self._held = 0
        self._size = 0
        self.entries = 0

    def add(
        self, name: bytes, kind: bytes, *, mode: int = 0, uid: int = 0, gid: int = 0, size: int = 0,
        mtime: int = 0, link: bytes = b"", device: int = 0, xattrs: Mapping[str, bytes] | None = None,
    ) -> None:  # fmt: skip
        """Write the headers of one member; `mtime` in seconds. Its payload is `copy`'s part."""
        self.entries += 1
        if self.entries > limits.TAR_ENTRIES:
            raise ResourceExhausted("the layer has too many entries", why=f"over {limits.TAR_ENTRIES}")
        if kind == DIRECTORY:
            name += b"/"
        if len(name) > limits.TAR_PATH_LENGTH:
            raise ResourceExhausted(
                "a path is too long for a layer", why=f"{len(name)} bytes, at most {limits.TAR_PATH_LENGTH}"
            )
        records = {_XATTR + os.fsencode(key): value for key, value in (xattrs or {}).items()}
        texts = ((b"path", name), (b"linkpath", link))
        records |= {key: text for key, text in texts if len(text) > _NAME or not _plain(text)}
        numbers = (
            (b"uid", uid, _OCTAL_ID), (b"gid", gid, _OCTAL_ID), (b"size", size, _OCTAL_LONG),
            (b"mtime", mtime, _OCTAL_LONG),
        )  # fmt: skip
        records |= {key: b"%d" % number for key, number, bound in numbers if not 0 <= number <= bound}
        if records:
            data = _pax(records)
            self._put(
                _block(
                    b"PaxHeaders.0/" + name.rstrip(b"/").rpartition(b"/")[2][:80], PAX_LOCAL, size=len(data)
                )
            )
            self._put(data + bytes(-len(data) % BLOCK))
        self._put(
            _block(
                name, kind, mode=mode, uid=uid, gid=gid, size=size, mtime=mtime, link=link,
                major=os.major(device), minor=os.minor(device),
            )
        )  # fmt: skip

    def copy(self, fd: int, size: int) -> bool:
        """Write `size` bytes of the file `fd` as the payload of the member just added.

        A file that got shorter is filled up with zeros; returns False then.
        """
        left = size
        while left:
            data = os.read(fd, min(left, _READ))
            if not data:
                break
            left -= len(data)
            self._put(data)
        whole = left == 0
        while left:
            data = bytes(min(left, _READ))
            left -= len(data)
            self._put(data)
        self._put(bytes(-size % BLOCK))
        return whole

    def fill(self, read: Callable[[int], bytes], size: int) -> None:
        """Write `size` bytes as the payload of the member just added; `read` returns what it is asked for."""
        left = size
        while left:
            data = read(min(left, _READ))
            left -= len(data)
            self._put(data)
        self._put(bytes(-size % BLOCK))

    def finish(self) -> None:
        """Write the end of the archive."""
        self._put(ZERO_BLOCK + ZERO_BLOCK)
        self.flush()

    def _put(self, data: bytes) -> None:
        if not data:
            return
        self._size += len(data)
        if self._size > limits.LAYER_UNPACKED_SIZE:
            raise ResourceExhausted("the layer is too large", why=f"over {limits.LAYER_UNPACKED_SIZE} bytes")
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Hand over all that is held, without an end of the archive."""
        if self._pieces:
            self._sink(b"".join(self._pieces))
            self._pieces, self._held = [], 0


def _plain(text: bytes) -> bool:
    """Tell whether a header field may hold the text: ASCII, or bytes that are no text in any encoding."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return True  # a PAX record must be UTF-8; readers take the header's bytes as they are
    return False


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def _block(
    name: bytes, kind: bytes = REGULAR, *, mode: int = 0, uid: int = 0, gid: int = 0, size: int = 0,
    mtime: int = 0, link: bytes = b"", major: int = 0, minor: int = 0,
) -> bytes:  # fmt: skip
    def bounded(value: int, bound: int) -> int:
        return value if 0 <= value <= bound else 0  # a PAX record says it

    block = bytearray(
        _HEADER.pack(
            name[:_NAME], _octal(mode, 8), _octal(bounded(uid, _OCTAL_ID), 8),
            _octal(bounded(gid, _OCTAL_ID), 8), _octal(bounded(size, _OCTAL_LONG), 12),
            _octal(bounded(mtime, _OCTAL_LONG), 12), b" " * 8, kind, link[:_NAME], b"ustar\x0000", b"", b"",
            _octal(major, 8), _octal(minor, 8), b"",
        )
    )  # fmt: skip
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _pax(records: Mapping[bytes, bytes]) -> bytes:
    data = b""
    for key in sorted(records):
        body = b" " + key + b"=" + records[key] + b"\n"
        length = len(body) + 1
        while len(b"%d" % length) + len(body) != length:
            length += 1
        data += b"%d" % length + body
    return data
