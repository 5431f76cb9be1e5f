"""One header of a tar archive: ustar, PAX, GNU and star forms, parsed as Go's archive/tar does.

Parsing as the image builders' own library does is a matter of safety: where two readers of one layer
disagree, something can hide. Imported by the layer extractor: standard library and `errors` only.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final
from zlib import adler32

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted

BLOCK: Final = 512
ZERO_BLOCK: Final = bytes(BLOCK)

REGULAR: Final = b"0"
HARDLINK: Final = b"1"
SYMLINK: Final = b"2"
CHARACTER: Final = b"3"
BLOCK_DEVICE: Final = b"4"
DIRECTORY: Final = b"5"
FIFO: Final = b"6"
CONTIGUOUS: Final = b"7"
PAX_LOCAL: Final = b"x"
PAX_GLOBAL: Final = b"g"
GNU_LONG_NAME: Final = b"L"
GNU_LONG_LINK: Final = b"K"
GNU_SPARSE: Final = b"S"
EXTENSIONS: Final = frozenset({PAX_LOCAL, PAX_GLOBAL, GNU_LONG_NAME, GNU_LONG_LINK})
_DEVICES: Final = frozenset({CHARACTER, BLOCK_DEVICE})
_WITH_DETAILS: Final = frozenset({GNU_SPARSE, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE})
HEADER_ONLY: Final = frozenset({HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO})

# name; mode, uid and gid together; size; mtime; checksum; type; magic; the first byte of the prefix. The
# rest is read where the type needs it.
_HEADER: Final = Struct("100s24s12s12s8sc100x6s82xB")
_EXTENSION: Final = Struct("124x12s12x8s")  # size and checksum: nothing else of an extension header counts
_LINK: Final = slice(157, 257)
_MAJOR: Final = slice(329, 337)
_MINOR: Final = slice(337, 345)
_PREFIX: Final = slice(345, 500)
_XATTR: Final = b"SCHILY.xattr."
_SIZE_MAX: Final = 2**63 - 1
_NANOSECONDS: Final = 1_000_000_000
_CACHED: Final = 4096
_ADLER_BASE: Final = 65521

_owners: dict[bytes, tuple[int, int, int]] = {}  # an archive holds few combinations of mode, uid and gid
_times: dict[bytes, int] = {}  # and few times, in nanoseconds
_checksums: dict[int, bytes] = {}  # one more than a block's sum (modulo _ADLER_BASE): a field that agrees


class Entry:
    """What the headers say of one member. Names are bytes as they came; `mtime` is in nanoseconds."""

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int  # bytes of payload that follow in the archive
    mtime: int
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] | None = None
    # Of sparse members only: the PAX records; the header block; what the latter's map says.
    pax: dict[bytes, bytes] | None = None
    block: bytes = b""
    segments: list[tuple[int, int]] | None = None
    real_size: int = 0


class Refusal(Exception):
    """Why the current entry is refused; whoever knows its name turns this into InvalidArgument."""


def malformed(why: str, name: bytes = b"") -> InvalidArgument:
    """Return the error for a bad archive, naming the entry where it is known."""
    what = f"tar entry {show(name)} is refused" if name else "the layer is not a valid tar archive"
    return InvalidArgument(what, why=why)


def show(name: bytes) -> str:
    """Return a name fit for a message: printable, and cut at 200 characters."""
    text = ascii(name[:201].decode("utf-8", "surrogateescape"))[1:-1] if name else ""
    return f"{text[:200]}…" if len(name) > 200 else text


def number(field: bytes) -> int:
    """Return the value of a numeric field: octal digits, or base-256 with the top bit set."""
    digits = field[:-1]
    if not digits.isdigit() or field[-1] not in (0, 32):  # else the form that nearly all writers use
        if field[0] & 0x80:
            return _base256(field)
        # A NUL ends the field; spaces pad it on either side.
        digits = field.partition(b"\0")[0].strip(b" ")
        if not digits:
            return 0
        if not digits.isdigit():
            raise malformed(f"a numeric header field holds {field!r}")
    try:
        return int(digits, 8)
    except ValueError:
        raise malformed(f"a numeric header field holds {field!r}") from None


def _base256(field: bytes) -> int:
    if field[0] & 0x40:
        value = int.from_bytes(field, "big", signed=True)
    else:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
    if not -(2**63) <= value <= _SIZE_MAX:
        raise malformed(f"a numeric header field holds {value}")
    return value


def _text(field: bytes) -> bytes:
    end = field.find(0)
    return field if end < 0 else field[:end]


def _verify_checksum(block: bytes, stored: bytes, key: int) -> None:
    """Compare in full where no field seen before agrees. `key` is what `_checksums` knows the block by."""
    expected = number(stored)
    # The checksum's own eight bytes count as spaces.
    total = key - (adler32(stored) & 0xFFFF) + 256
    if (total - expected) % _ADLER_BASE == 0:
        _checksums[key] = stored
        return
    # Some old writers summed signed characters.
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 256
    if signed != expected:
        raise malformed("a header's checksum is wrong")


def parse_header(block: bytes) -> Entry:
    """Return the entry that one 512-byte header describes. Raises InvalidArgument."""
    name, owner, size, mtime, checksum, kind, magic, prefix = _HEADER.unpack_from(block)
    # adler32's lower half is one more than the sum of the bytes modulo 65521, at the speed of C.
    key = adler32(block) & 0xFFFF
    if _checksums.get(key) != checksum:
        _verify_checksum(block, checksum, key)
    entry = Entry()
    entry.type = kind
    if kind in EXTENSIONS:  # nothing else of their headers counts
        entry.size = number(size)
        return entry
    end = name.find(0)
    entry.name = name if end < 0 else name[:end]
    entry.mode, entry.uid, entry.gid = _owners.get(owner) or _parse_owner(owner)
    entry.size = number(size)
    time = _times.get(mtime)
    entry.mtime = _parse_time(mtime) if time is None else time
    if kind in _WITH_DETAILS:
        if kind == GNU_SPARSE:
            entry.block = block
        entry.link = _text(block[_LINK])
        if kind in _DEVICES and magic[:5] == b"ustar":
            entry.major, entry.minor = number(block[_MAJOR]), number(block[_MINOR])
    if prefix and magic == b"ustar\0":
        _add_prefix(entry, block)
    if kind == b"\0":  # the V7 form of a regular file, or of a directory by its trailing slash
        entry.type = DIRECTORY if entry.name.endswith(b"/") else REGULAR
    return entry


def extension_size(block: bytes) -> int:
    """Return how many bytes of records follow the header of an extension. Raises InvalidArgument."""
    size, checksum = _EXTENSION.unpack_from(block)
    key = adler32(block) & 0xFFFF
    if _checksums.get(key) != checksum:
        _verify_checksum(block, checksum, key)
    return number(size)


def _parse_time(field: bytes) -> int:
    time = number(field) * _NANOSECONDS
    if len(_times) < _CACHED:
        _times[field] = time
    return time


def _parse_owner(fields: bytes) -> tuple[int, int, int]:
    owner = number(fields[:8]) & 0o7777, number(fields[8:16]), number(fields[16:])
    if len(_owners) < _CACHED:
        _owners[fields] = owner
    return owner


def _add_prefix(entry: Entry, block: bytes) -> None:
    prefix = block[_PREFIX]
    if block[508:512] == b"tar\0":  # star: the end of the prefix holds times
        prefix = prefix[:131]
    start = _text(prefix)
    if start:
        entry.name = start + b"/" + entry.name


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """Return the records of a PAX header, the last of equal keys winning. Raises InvalidArgument."""
    records: dict[bytes, bytes] = {}
    position, end = 0, len(data)
    sparse: list[bytes] = []
    while position < end:
        space = data.find(b" ", position, position + 12)
        length = data[position:space]
        if space < 0 or not length.isdigit():
            raise malformed("a PAX record has no length")
        following = position + int(length)
        equals = data.find(b"=", space, following)
        if following > end or equals < 0 or equals == space + 1 or data[following - 1] != 10:
            raise malformed("a PAX record is cut or has no key")
        key, value = data[space + 1 : equals], data[equals + 1 : following - 1]
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse.append(value)  # the one key that repeats with meaning (sparse format 0.0)
        else:
            records[key] = value
        position = following
    if sparse:
        records[b"GNU.sparse.map"] = b",".join(sparse)
    return records


def apply_pax(entry: Entry, records: dict[bytes, bytes]) -> None:
    """Let PAX records override the header's fields; an empty value leaves the header's.

    Raises InvalidArgument for a malformed value, ResourceExhausted for an xattr over its bound.
    """
    for key, value in records.items():
        field = _PAX_FIELDS.get(key)
        if field is not None:
            if value:
                name, parse = field
                setattr(entry, name, parse(key, value))
        elif key.startswith(_XATTR):
            _add_xattr(entry, key[len(_XATTR) :], value)
        elif key.startswith(b"GNU.sparse."):
            entry.pax = records
    if entry.pax and records.get(b"GNU.sparse.name"):  # `path` is a stand-in then
        entry.name = _pax_name(b"GNU.sparse.name", records[b"GNU.sparse.name"])


def _add_xattr(entry: Entry, key: bytes, value: bytes) -> None:
    if len(value) > limits.TAR_XATTR_SIZE:
        raise ResourceExhausted(
            f"tar entry {show(entry.name)} is refused",
            why=f"an extended attribute has {len(value)} bytes, at most {limits.TAR_XATTR_SIZE}",
        )
    if entry.xattrs is None:
        entry.xattrs = {}
    entry.xattrs[key.decode("utf-8", "surrogateescape")] = value


def _pax_name(key: bytes, value: bytes) -> bytes:
    if 0 in value:
        raise malformed(f"PAX {key.decode()} holds a NUL byte")
    return value


def _decimal(key: bytes, value: bytes) -> int:
    if not value.isdigit() or len(value) > 19 or (result := int(value)) > _SIZE_MAX:
        raise malformed(f"PAX {key.decode()} is {show(value)!r}")
    return result


def _decimal_time(_: bytes, value: bytes) -> int:
    whole, _, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    digits = whole[1:] if negative else whole
    if not digits.isdigit() or len(digits) > 19 or (fraction and not fraction.isdigit()):
        raise malformed(f"PAX mtime is {show(value)!r}")
    nanoseconds = int(digits) * _NANOSECONDS + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if negative else nanoseconds


_PAX_FIELDS: Final[dict[bytes, tuple[str, Callable[[bytes, bytes], int | bytes]]]] = {
    b"mtime": ("mtime", _decimal_time),
    b"path": ("name", _pax_name),
    b"linkpath": ("link", _pax_name),
    b"size": ("size", _decimal),
    b"uid": ("uid", _decimal),
    b"gid": ("gid", _decimal),
}
