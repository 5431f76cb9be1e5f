"""Rounds of memory before a freeze: real ones where the kernel tracks dirty memory, else a stand-in for runc's."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from tricorn_testing.criu import criu_program

USR: Final = {"target": "/usr", "source": "/usr", "options": ["ro"]}
MIB: Final = 1 << 20
# So many MiB without two equal pages, of which one in eight changes all the time. It tells a number, and by how much
# the sum of what is in memory differs from what it has to be.
CHANGING: Final = """
import itertools, os, sys, time
pages = int(sys.argv[1]) << 8
memory, expected = bytearray(pages << 12), 0
def value(page):
    return int.from_bytes(memory[page << 12:(page << 12) + 8], "little")
def put(page, what):
    memory[page << 12:(page << 12) + 8] = what.to_bytes(8, "little")
for page in range(pages):
    put(page, page + 1)
    expected += page + 1
for number in itertools.count(1):
    for page in range(0, pages // 8):
        put(page, value(page) + number)
        expected += number
    with open("/out/new", "w") as file:
        file.write(f"{number} {sum(map(value, range(pages))) - expected}")
    os.rename("/out/new", "/out/told")
    time.sleep(0.05)
"""
# What runc and CRIU leave of rounds, of 24 MiB and 2 MiB; what is dumped after them stands on none.
_STAND_IN: Final = """#!/bin/bash
[ -e "${0%/*}/refuse" ] && exec RUNC "$@"
words=("$@") kept=() images= parent= pre=
for ((i = 0; i < ${#words[@]}; i++)); do
    case ${words[i]} in
    --pre-dump) pre=1 ;;
    --parent-path) parent=${words[i + 1]} && i=$((i + 1)) ;;
    --image-path) images=${words[i + 1]} && kept+=("${words[i]}" "$images") && i=$((i + 1)) ;;
    *) kept+=("${words[i]}") ;;
    esac
done
[ -n "$parent" ] && { ln -s "$parent" "$images/parent" && [ -d "$images/parent" ] || exit 7; }
[ -z "$pre" ] && exec RUNC "${kept[@]}"
truncate -s "$([ -n "$parent" ] && echo 2M || echo 24M)" "$images/pages-99999.img"
echo map >"$images/pagemap-99999.img" && echo >"$images/inventory.img"
"""


@functools.cache
def tracks() -> bool:
    """Return whether this kernel tells which memory was written to; CRIU has tried it."""
    command = [criu_program(), "check", "--feature", "mem_dirty_track"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def programs(directory: Path) -> tuple[str, str]:
    """Return the CRIU and the runc for an agent that makes rounds. Where the kernel can't, a CRIU that says it can,
    and a runc that makes up rounds; while `directory`/refuse is there, it does what runc does: it refuses.
    """
    runc = shutil.which("runc") or ""
    if tracks():
        return criu_program(), runc
    criu, made = directory / "criu", directory / "runc"
    criu.write_text(
        f"""#!/bin/sh
        [ "$*" = "check --feature mem_dirty_track" ] || exec {criu_program()} "$@"
        """
    )
    made.write_text(_STAND_IN.replace("RUNC", runc))
    for each in (criu, made):
        each.chmod(0o755)
    return str(criu), str(made)


def changing_container(image: str, place: Path, mebibytes: int) -> dict[str, Any]:
    """Return a container that tells in `place` whether its memory is what it wrote."""
    return {
        "image": image, "args": ["/usr/bin/python3", "-c", CHANGING, str(mebibytes)],
        "mounts": [USR, {"target": "/out", "source": str(place)}],
    }  # fmt: skip
