"""What an update with a field mask makes of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from tricorn.errors import InvalidArgument
from tricorn.model.records import Image


def masked(old: Image, new: Image, paths: Sequence[str]) -> Image:
    """Return `old` with the fields of `new` that `paths` name; without paths all that can change.

    Paths: `labels`, `labels.KEY`, `target` (as a whole), `annotations`, `annotations.KEY` (the target's).
    Later paths go over earlier ones. An empty value deletes a label or an annotation. InvalidArgument for
    any other path.
    """
    labels, target = dict(old.labels), old.target
    for path in paths or ("labels", "target"):
        field, dot, key = path.partition(".")
        if field == "labels":
            labels = _one(labels, new.labels, key) if dot else dict(new.labels)
        elif field == "annotations":
            given = new.target.annotations
            kept = _one(target.annotations, given, key) if dot else given
            target = evolve(target, annotations=kept)
        elif path == "target":
            target = new.target
        else:
            raise InvalidArgument(
                f"cannot update the field {path[:160]!r} of image {old.name}",
                why="only labels, target and annotations can be changed",
                field="update_mask",
            )
    return valued(evolve(old, labels=labels, target=target))


def _one(current: Mapping[str, str], given: Mapping[str, str], key: str) -> dict[str, str]:
    return {**current, key: given.get(key, "")}


def valued(image: Image) -> Image:
    """Return the image without labels and annotations whose values are empty: they mean none."""
    target = evolve(image.target, annotations=_valued(image.target.annotations))
    return evolve(image, labels=_valued(image.labels), target=target)


def _valued(values: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}
