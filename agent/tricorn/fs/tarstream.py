"""Reads a tar archive from chunks of bytes as they come, with every size bounded.

Imported by the layer extractor: standard library, `errors` and `limits` only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from tricorn import limits
from tricorn.errors import ResourceExhausted, TricornError
from tricorn.fs import sparse
from tricorn.fs.tarheader import (
    BLOCK,
    EXTENSIONS,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    GNU_SPARSE,
    HEADER_ONLY,
    PAX_GLOBAL,
    PAX_LOCAL,
    ZERO_BLOCK,
    Entry,
    apply_pax,
    extension_size,
    malformed,
    parse_header,
    parse_pax,
    show,
)

_TYPE: Final = 156  # where a header says what it is of
_EXTENSION_TYPES: Final = frozenset(kind[0] for kind in EXTENSIONS)
_PAX_TYPE: Final = PAX_LOCAL[0]
_TIME: Final = 64  # bytes that a PAX header with a time only takes, at most
_CACHED: Final = 4096

_times: dict[bytes, int] = {}  # PAX records that hold a time only: many files share one


class TarStream:
    """Iterates over the members of an archive; the payload of each is read or skipped in between.

    `chunks` yields non-empty pieces of any size, each needed until the next is asked for. Extension headers
    never show: PAX local and GNU long names are merged, PAX global ones are dropped (as containerd does).
    """

    def __init__(self, chunks: Iterator[bytes | memoryview]) -> None:
        self._chunks = chunks
        self._view = memoryview(b"")
        self._end = 0  # of the chunk in `_view`
        self._position = 0
        self._left = 0  # payload of the current entry not read yet
        self._padding = 0
        self._name = b""
        self._extension_block, self._extension_size = b"", 0  # the last one, and what it says
        self.entries = 0

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> Entry | None:
        """Return the next member, or None at the end of the archive. Raises InvalidArgument."""
        extensions: dict[bytes, bytes] | None = None
        while True:
            block = self._header_block()
            if block is None:
                if extensions:
                    raise malformed("the archive ends after an extension header")
                return None
            if block[_TYPE] not in _EXTENSION_TYPES:
                return self._begin(parse_header(block), extensions)
            if block != self._extension_block:  # some writers make one like the other
                self._extension_size, self._extension_block = extension_size(block), block
            elif extensions is None and (entry := self._timed()) is not None:
                return entry
            data = self._extension(self._extension_size)
            kind = block[_TYPE : _TYPE + 1]
            if kind != PAX_GLOBAL:
                if extensions is None:
                    extensions = {}
                extensions[kind] = data  # of two alike the later one counts

    def _timed(self) -> Entry | None:
        """Return the member after an extension header that is known, if that is PAX records with a time which
        is known, too: what comes again and again in layers of many small files. Else read nothing.
        """
        position = self._position
        end = position + 2 * BLOCK
        if end > self._end or self._extension_block[_TYPE] != _PAX_TYPE:
            return None
        blocks = self._view[position:end].tobytes()
        time = _times.get(blocks[: self._extension_size])
        block = blocks[BLOCK:]
        if time is None or not block[0] or block[_TYPE] in _EXTENSION_TYPES:
            return None
        self._position = end
        entry = parse_header(block)
        entry.mtime = time
        return self._begin(entry, None)

    def _begin(self, entry: Entry, extensions: dict[bytes, bytes] | None) -> Entry:
        if extensions:
            _extend(entry, extensions)
        self.entries += 1
        self._name = entry.name
        if self.entries > limits.TAR_ENTRIES:
            raise ResourceExhausted("the layer has too many entries", why=f"at most {limits.TAR_ENTRIES}")
        kind = entry.type
        if kind in HEADER_ONLY:
            entry.size = 0  # whatever the field says: no payload follows these
        elif size := entry.size:
            if not 0 < size <= limits.LAYER_UNPACKED_SIZE:
                raise _out_of_range(entry)
            self._left = size
            self._padding = -size % BLOCK
        if kind == GNU_SPARSE:
            sparse.read_old_map(entry, self._gather)
        return entry

    def _header_block(self) -> bytes | None:
        """Return the block after the current entry's payload, None at the end of the archive."""
        position = self._position + self._left + self._padding
        end = position + BLOCK
        if end <= self._end:
            block = self._view[position:end].tobytes()  # a copy: the memory may be shared
            self._position = end
            self._left = self._padding = 0
        else:
            self._skip(self._left + self._padding)
            self._left = self._padding = 0
            rest = self._block()
            if rest is None:
                return None
            block = rest
        if block[0] == 0 and block == ZERO_BLOCK:
            second = self._block()
            if second is not None and second != ZERO_BLOCK:
                raise malformed("a single zero block is followed by more")
            return None
        return block

    def _block(self) -> bytes | None:
        position = self._position
        end = position + BLOCK
        if end <= self._end:
            self._position = end
            return self._view[position:end].tobytes()  # a copy: the memory may be shared
        block = self._gather(BLOCK)
        if block and len(block) != BLOCK:
            raise malformed("it ends within a header")
        return block or None

    def _extension(self, size: int) -> bytes:
        if size < 0:
            raise malformed(f"an extension header's size is {size}")
        if size > limits.TAR_HEADER_SIZE:
            raise ResourceExhausted(
                "an extension header of the layer is too large",
                why=f"{size} bytes, at most {limits.TAR_HEADER_SIZE}",
            )
        position = self._position
        end = position + size
        if end <= self._end:
            data = self._view[position:end].tobytes()
            self._position = end
        else:
            data = self._gather(size)
            if len(data) != size:
                raise malformed("it ends within an extension header")
        self._padding = -size % BLOCK
        return data

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes of the current payload."""
        data = self._gather(min(count, self._left))
        if len(data) != count:
            raise malformed("the archive ends within its content", self._name)
        self._left -= count
        return data

    def lend(self) -> int | None:
        """Pass over the current payload and return where in the current chunk it is; None, and nothing has
        happened, if not all of it is there.
        """
        position = self._position
        if self._left > self._end - position:
            return None
        self._position = position + self._left
        self._left = 0
        return position

    def copy(self, fd: int, count: int) -> None:
        """Write the next `count` bytes of the current payload to `fd`. Raises OSError as write(2)."""
        if count > self._left:
            raise malformed("its content is shorter than its map says", self._name)
        self._left -= count
        while count:
            position = self._position
            available = self._end - position
            if count <= available:
                available = count
            elif not available:
                if not self._refill():
                    raise malformed("the archive ends within its content", self._name)
                continue
            written = os.write(fd, self._view[position : position + available])
            self._position = position + written
            count -= written

    def drain(self) -> None:
        """Read to the end of the source: what follows the archive belongs to its digest."""
        self._position = self._end
        while self._refill():
            pass

    def _refill(self) -> bool:
        chunk = next(self._chunks, b"")
        self._view = memoryview(chunk)
        self._end = len(chunk)
        self._position = 0
        return bool(chunk)

    def _gather(self, count: int) -> bytes:
        """Return `count` bytes, fewer at the end of the source only."""
        position = self._position
        data = self._view[position : position + count].tobytes()
        self._position = position + len(data)
        if len(data) == count:
            return data
        parts = [data]
        missing = count - len(data)
        while missing and self._refill():
            data = self._view[:missing].tobytes()
            self._position = len(data)
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def _skip(self, count: int) -> None:
        position = self._position + count
        if position <= self._end:
            self._position = position
            return
        while count:
            step = min(count, self._end - self._position)
            self._position += step
            count -= step
            if count and not self._refill():
                raise malformed("the archive ends within its content", self._name)


def _out_of_range(entry: Entry) -> TricornError:
    if entry.size < 0:
        return malformed(f"its size is {entry.size}", entry.name)
    return ResourceExhausted(
        f"tar entry {show(entry.name)} is refused",
        why=f"its size is {entry.size} bytes, at most {limits.LAYER_UNPACKED_SIZE}",
    )


def _extend(entry: Entry, extensions: dict[bytes, bytes]) -> None:
    """Merge the extension headers that came before an entry; GNU long names win over PAX."""
    data = extensions.get(PAX_LOCAL)
    if data:
        time = _times.get(data)
        if time is not None:
            entry.mtime = time
        else:
            apply_pax(entry, records := parse_pax(data))
            if len(data) <= _TIME and len(records) == 1 and records.get(b"mtime") and len(_times) < _CACHED:
                _times[data] = entry.mtime
    name = extensions.get(GNU_LONG_NAME)
    if name is not None:
        entry.name = name.partition(b"\0")[0] or entry.name
    link = extensions.get(GNU_LONG_LINK)
    if link is not None:
        entry.link = link.partition(b"\0")[0] or entry.link
