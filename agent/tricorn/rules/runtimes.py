"""Which OCI runtime to take, and which known defects a version has. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

Version = tuple[int, ...]


@frozen
class _Defect:
    """Fixed in each of `fixed` (the lowest version of a release line); `since` is the first that has it."""

    id: str
    what: str
    fixed: tuple[Version, ...]
    since: Version = (0,)


# Gathered from the projects' advisories; distributions backport, so a hit is a warning, never a refusal
_DEFECTS: Final[Mapping[str, tuple[_Defect, ...]]] = {
    "runc": (
        _Defect("CVE-2021-30465", "mounts can be led out of the container by a race", ((1, 0, 0),)),
        _Defect("CVE-2022-29162", "exec with inheritable capabilities", ((1, 1, 2),)),
        _Defect(
            "CVE-2023-25809, CVE-2023-27561, CVE-2023-28642",
            "cgroups can be written to, and masks be avoided by symlinks",
            ((1, 1, 5),),
        ),
        _Defect("CVE-2024-21626", "a leaked descriptor reaches the host's files", ((1, 1, 12),)),
        _Defect("CVE-2024-45310", "empty host files through a mkdir race", ((1, 1, 14), (1, 2, 0))),
        _Defect(
            "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
            "masked paths, /dev/console and procfs writes can be redirected",
            ((1, 2, 8), (1, 3, 3), (1, 4, 0)),
        ),
        _Defect(
            "CVE-2026-41579",
            "host writes through a /dev that is a symlink",
            ((1, 3, 6), (1, 4, 3), (1, 5, 0)),
        ),
    ),
    "crun": (
        _Defect("CVE-2022-27650", "exec with inheritable capabilities", ((1, 4, 4),)),
        _Defect("CVE-2025-24965", "krun handler writes to the host", ((1, 20),)),
        _Defect("CVE-2026-30892", "exec as uid 1 runs as root", ((1, 27),), since=(1, 19)),
    ),
}


def parse_version(text: str) -> Version:
    """Return the leading numbers: `1.1.5+ds1` → (1, 1, 5); () when there are none."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return tuple(map(int, match[1].split("."))) if match else ()


def known_defects(flavour: str, version: str) -> tuple[str, ...]:
    """Return one warning for each published defect that this version has, unless it was backported."""
    number = parse_version(version)
    if not number:
        return ()
    return tuple(
        f"{flavour} {version} is below the fix of {defect.id} ({defect.what}) "
        "unless the distribution has backported it"
        for defect in _DEFECTS.get(flavour, ())
        if number >= defect.since and not _is_fixed(number, defect.fixed)
    )


def _is_fixed(number: Version, fixed: tuple[Version, ...]) -> bool:
    line = [entry for entry in fixed if entry[:2] == number[:2]]
    return number >= (line[0] if line else max(fixed))


def choose_default(usable: Mapping[str, bool]) -> str:
    """Return the runtime to use where none is named: crun (quicker, smaller) if it is usable here, else
    runc, else any usable one, else "". `usable` maps names to what a probe found.
    """
    names = [name for name, works in usable.items() if works]
    for preferred in ("crun", "runc"):
        if preferred in names:
            return preferred
    return names[0] if names else ""
