"""Reads the text of control group files. Lines that aren't as the kernel writes them are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def number(text: str, unlimited: int = 0) -> int:
    """Return a file's only number; `unlimited` for "max", 0 for anything else."""
    word = text.strip()
    if word == "max":
        return unlimited
    return int(word) if word.isdecimal() else 0


def pairs(text: str) -> dict[str, int]:
    """Return the `name value` lines of a file."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdecimal():
            found[words[0]] = int(words[1])
    return found


def present(files: Mapping[str, str], prefix: str, suffix: str) -> Iterator[str]:
    """Yield what stands between prefix and suffix in the names of the files, in order."""
    for name in sorted(files):
        if name.startswith(prefix) and name.endswith(suffix):
            middle = name[len(prefix) : -len(suffix)]
            if "." not in middle:  # hugetlb.2MB.rsvd.current is another figure
                yield middle


def numbers_of(message: Any, lines: Mapping[str, int]) -> dict[str, int]:
    """Return the lines that a message class has a number for: kernels know more, or use a name otherwise."""
    fields = message.DESCRIPTOR.fields_by_name
    return {
        name: value for name, value in lines.items() if name in fields and fields[name].message_type is None
    }
