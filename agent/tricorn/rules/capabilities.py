"""Which capabilities a container's processes have. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tricorn.errors import InvalidArgument
from tricorn.model.spec import CAPABILITIES

DEFAULT: Final = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
    "CAP_AUDIT_WRITE",
)  # fmt: skip


def normalise(name: str, field: str) -> str:
    """Return `CAP_X` for `x`, `cap_x` or `CAP_X`, `ALL` for all; InvalidArgument for an unknown one."""
    text = name.upper()
    if text in {"ALL", "CAP_ALL"}:
        return "ALL"
    full = text if text.startswith("CAP_") else f"CAP_{text}"
    if full not in CAPABILITIES:
        raise InvalidArgument(f"capability {name[:64]!r} is unknown", field=field)
    return full


def choose(add: Sequence[str], drop: Sequence[str], *, privileged: bool) -> tuple[str, ...]:
    """Return the set asked for, in the order of the kernel's numbers.

    ALL comes first in either list, so `add ALL, drop X` is all but X and `drop ALL, add X` is X alone.
    """
    added = [normalise(name, f"cap_add[{i}]") for i, name in enumerate(add)]
    dropped = [normalise(name, f"cap_drop[{i}]") for i, name in enumerate(drop)]
    wanted = set(CAPABILITIES if privileged or "ALL" in added else DEFAULT)
    if "ALL" in dropped:
        wanted = set()
    wanted |= set(added)
    wanted -= set(dropped)
    if "ALL" in dropped:
        wanted |= set(added)
    return tuple(name for name in CAPABILITIES if name in wanted)


def process_sets(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the OCI member `capabilities`: nothing inheritable, nothing ambient (CVE-2022-24769)."""
    return {kind: list(names) for kind in ("bounding", "effective", "permitted")}
