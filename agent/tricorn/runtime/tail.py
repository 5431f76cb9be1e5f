"""Finding the last lines of a log without reading all of it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence


def tail_position(
    files: Sequence[int], lines: int, early_enough: Callable[[str], bool] | None = None
) -> tuple[int, int]:
    """Return (index of the file, offset) where the last `lines` whole lines begin.

    `files` are open descriptors of a log's files, oldest first. A line is any number of partial records
    and the one that ends it; partial records at the very end count as one line. The end is where the last
    record is whose time is `early_enough`.
    """
    if not files:
        return 0, 0
    last = len(files) - 1
    if lines <= 0:
        return last, os.fstat(files[last]).st_size
    found = 0
    first = True
    late = early_enough is not None
    for index in range(last, -1, -1):
        size = os.fstat(files[index]).st_size
        if size == 0:
            continue
        with mmap.mmap(files[index], size, prot=mmap.PROT_READ) as data:
            end = data.rfind(b"\n", 0, size) + 1  # a record still being written doesn't count
            while end > 0:
                start = data.rfind(b"\n", 0, end - 1) + 1
                if late and early_enough is not None:
                    late = not early_enough(data[start:end].split(b" ", 1)[0].decode("ascii", "replace"))
                    if late:
                        end = start
                        continue
                whole = data[start:end].split(b" ", 3)[2:3] in ([b"F"], [b"F\n"])
                if whole or first:
                    found += 1
                    if found > lines:
                        return index, end
                first = False
                end = start
    return 0, 0
