"""The file by which an exec with a log is known again."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

from attrs import asdict

from tricorn.model.execs import KeptExec
from tricorn.runtime.bundle import Bundle

_FILE: Final = "kept.json"


def write_kept(bundle: Bundle, kept: KeptExec) -> None:
    bundle.write(_FILE, json.dumps({**asdict(kept), "started_at": kept.started_at.isoformat()}))


def read_kept(bundle: Bundle) -> KeptExec | None:
    """Return what was written, None for an exec of another kind."""
    try:
        with open(bundle.file(_FILE), encoding="utf-8") as file:
            raw = json.load(file)
        parsed = {"started_at": datetime.fromisoformat(raw["started_at"]), "args": tuple(raw["args"])}
        kept = KeptExec(**{**raw, **parsed})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return kept if _is_sound(kept) else None


def _is_sound(kept: KeptExec) -> bool:
    """Whether all is of the kind it is to be: the agent compares and counts with it later."""
    numbers = (kept.log_size, kept.log_files)
    flags = (kept.terminal, kept.stdin)
    return (
        all(isinstance(word, str) for word in (*kept.args, kept.user))
        and all(type(number) is int and number >= 0 for number in numbers)
        and all(isinstance(flag, bool) for flag in flags)
        and kept.started_at.tzinfo is not None
    )
