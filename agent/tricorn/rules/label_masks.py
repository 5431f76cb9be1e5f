"""What an update with a field mask does to an object of which only the labels may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tricorn.errors import InvalidArgument

_ONE: Final = "labels."


def label_changes_of(
    current: Mapping[str, str], wanted: Mapping[str, str], paths: Sequence[str], what: str
) -> dict[str, str]:
    """Return the labels to merge into `current`, an empty value deleting its key.

    `labels` in `paths` (or no path at all) replaces all of them, `labels.x` sets or deletes one.
    InvalidArgument for every other path, naming it and the object (`what`).
    """
    changes: dict[str, str] = {}
    for path in paths or ("labels",):
        if path == "labels":
            changes = {**dict.fromkeys(current, ""), **wanted}
        elif path.startswith(_ONE) and len(path) > len(_ONE):
            key = path[len(_ONE) :]
            changes[key] = wanted.get(key, "")
        else:
            raise InvalidArgument(
                f"cannot update the field {path[:160]!r} of {what}",
                why="only labels can be changed",
                field="update_mask",
            )
    return changes
