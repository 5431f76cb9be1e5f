"""Reads the text of control group files. Lines that aren't as the kernel writes them are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_UNLIMITED_RDMA: Final = (1 << 32) - 1


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


def pids(messages: Any, files: Mapping[str, str], unlimited: int = 0) -> Any:
    """Return the package's PidsStat, None where the files tell nothing of it."""
    if "pids.current" not in files:
        return None
    limit = number(files.get("pids.max", ""), unlimited)
    return messages.PidsStat(current=number(files["pids.current"]), limit=limit)


def rdma_entries(message: Any, text: str) -> Iterable[Any]:
    """Read lines such as `mlx4_0 hca_handle=2 hca_object=max`."""
    for line in text.splitlines():
        device, *words = line.split()
        values = dict(word.split("=", 1) for word in words if "=" in word)
        yield message(
            device=device,
            hca_handles=number(values.get("hca_handle", ""), _UNLIMITED_RDMA),
            hca_objects=number(values.get("hca_object", ""), _UNLIMITED_RDMA),
        )


def rdma(messages: Any, files: Mapping[str, str]) -> Any:
    """Return the package's RdmaStat, None where the files tell nothing of it."""
    if "rdma.current" not in files:
        return None
    return messages.RdmaStat(
        current=rdma_entries(messages.RdmaEntry, files["rdma.current"]),
        limit=rdma_entries(messages.RdmaEntry, files.get("rdma.max", "")),
    )
