"""What images of an archive are called: names in annotations, completed or held to a prefix. Pure.

The annotations and the rules are containerd's (core/images/archive, core/transfer/image).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tricorn.errors import InvalidArgument
from tricorn.model.oci import Descriptor
from tricorn.model.reference import Reference
from tricorn.model.transfer import Naming

IMAGE_NAME: Final = "io.containerd.image.name"
REF_NAME: Final = "org.opencontainers.image.ref.name"


def names_in_archive(descriptor: Descriptor, references: Sequence[Naming]) -> list[str]:
    """Return the names of an entry of an archive's index, by its annotations; none is no error."""
    names: list[str] = []
    for reference in references:
        if not reference.is_prefix:
            continue
        name = annotated_name(descriptor.annotations, reference)
        if name:
            names.append(name)
        if reference.add_digest and not (name and reference.skip_named_digest):
            names.append(f"{reference.name}@{descriptor.digest}")
    return list(dict.fromkeys(names))


def names_of_target(descriptor: Descriptor, name: str, references: Sequence[Naming]) -> list[str]:
    """Return the names that a pulled or tagged image gets."""
    names = [name] if name else []
    for reference in references:
        if reference.add_digest:
            names.append(f"{reference.name}@{descriptor.digest}")
        elif not reference.is_prefix:
            names.append(reference.name)
    return list(dict.fromkeys(names))


def annotated_name(annotations: Mapping[str, str], reference: Naming) -> str:
    """Return the name in an entry's annotations as `reference` lets it stand, "" if it doesn't."""
    name = whole = annotations.get(IMAGE_NAME, "")
    if not whole:
        name = annotations.get(REF_NAME, "")
        if name and reference.name and not _is_whole(name):
            name = f"{reference.name}:{name}"
    if not _may_stand(name, reference):
        return ""
    return _completed(name) if reference.completed else name


def _may_stand(name: str, reference: Naming) -> bool:
    if not reference.name or not _is_whole(name):
        return False
    if reference.allow_overwrite or _is_below(name, reference.name):
        return True
    return reference.completed and _is_below(_completed(name), _repository(reference.name))


def _is_whole(name: str) -> bool:
    return bool(set("/:@") & set(name))


def _completed(name: str) -> str:
    return str(_parsed(name) or name)


def _repository(name: str) -> str:
    reference = _parsed(name)
    return reference.name if reference else name


def _parsed(name: str) -> Reference | None:
    try:
        return Reference.parse(name)
    except InvalidArgument:
        return None


def _is_below(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name[len(prefix) : len(prefix) + 1] in {"", "/", ":", "@"}


def name_annotations(name: str) -> dict[str, str]:
    """Return the annotations that give an image of this name to whoever reads an archive."""
    reference = _parsed(name)
    tag = reference.tag if reference and not reference.digest else name
    return {IMAGE_NAME: name, REF_NAME: tag}
