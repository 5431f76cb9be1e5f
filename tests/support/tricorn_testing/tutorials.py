"""The commands of a page of the documentation: what stands behind a prompt in its `console` blocks."""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Return the page's commands in their order, each with its here document if it has one."""
    found: list[str] = []
    ends = ""
    for line in "".join(_BLOCK.findall(page.read_text())).splitlines():
        if ends:
            found[-1] += "\n" + line
            ends = "" if line == ends else ends
        elif line.startswith("# "):
            found.append(line.removeprefix("# "))
            here = re.search(r"<<'(\w+)'", line)
            ends = here.group(1) if here else ""
    return found
