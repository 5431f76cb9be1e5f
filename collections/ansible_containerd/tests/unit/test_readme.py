# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The README's table names all that the collection has, by the names that ansible-doc -l has, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2]
KINDS = ("become", "callback", "connection", "filter", "inventory", "lookup", "playbook", "role")


def there(kind):
    """Return what the collection has of a kind."""
    if kind == "role":
        return {path.name for path in (HOME / "roles").iterdir() if path.is_dir()}
    if kind == "playbook":
        return {path.stem for path in (HOME / "playbooks").glob("*.yml")}
    directory = "modules" if kind == "module" else kind
    return {path.stem for path in (HOME / "plugins" / directory).glob("[!_]*.py")}


def told():
    """Return what the table's first column names, by its kind; what has no kind there is a module."""
    found = {kind: set() for kind in (*KINDS, "module")}
    kind = "module"
    for line in (HOME / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `") or re.match(r"\| [a-z]+ `", line):
            kind = "module"
            for word, name in re.findall(r"([a-z]+) (?=`)|`([a-z_]+)`", line.split("|")[1]):
                kind = word.removesuffix("s") if word else kind
                if name:
                    found[kind].add(name)
    return found


@pytest.mark.parametrize("kind", [*KINDS, "module"])
def test_all_of_a_kind_is_told(kind):
    assert told()[kind] == there(kind)
