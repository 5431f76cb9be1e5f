"""What an update of a container record may change, field by field (containerd's field masks). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import evolve

from tricorn.errors import InvalidArgument
from tricorn.model.records import AnyValue, Container
from tricorn.rules.runtime_names import shown_runtime

_Change = Callable[[Container, Container], Container]
_IMMUTABLE: Final[tuple[tuple[str, Callable[[Container], str]], ...]] = (
    ("snapshotter", lambda container: container.snapshotter),
    ("runtime.name", shown_runtime),
)


def masked(old: Container, new: Container, paths: Sequence[str]) -> Container:
    """Return `old` with the fields that `paths` name taken from `new` (all that can change without).

    Paths: `labels`, `labels.KEY`, `extensions`, `extensions.KEY`, `spec`, `image`, `snapshotkey`. A label
    without a value is removed, and so is an extension that `new` hasn't. Raises InvalidArgument for another
    path, and without paths when snapshotter or runtime name differ: they never change.
    """
    if not paths:
        _check_immutable(old, new)
    result = old
    for path in paths or tuple(_WHOLE):
        result = _field(path)(result, new)
    return result


def _check_immutable(old: Container, new: Container) -> None:
    for field, value in _IMMUTABLE:
        if value(old) != value(new):
            raise InvalidArgument(
                f"container {old.id}: {field} is immutable", why=f"it is {value(old)!r}, not {value(new)!r}",
                hint="delete the container and create it anew", field=field,
            )  # fmt: skip


def _field(path: str) -> _Change:
    name, _, key = path.partition(".")
    if key and name == "labels":
        return lambda old, new: evolve(old, labels=_labels({**old.labels, key: new.labels.get(key, "")}))
    if key and name == "extensions":
        return lambda old, new: evolve(old, extensions=_extensions(old, new, key))
    found = _WHOLE.get(path)
    if found is None:
        raise InvalidArgument(
            f"cannot update field {path!r} of a container", field="update_mask",
            hint="labels, labels.KEY, extensions, extensions.KEY, spec, image, snapshotkey",
        )  # fmt: skip
    return found


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if value}


def _extensions(old: Container, new: Container, key: str) -> dict[str, AnyValue]:
    kept = {name: value for name, value in old.extensions.items() if name != key}
    return kept | ({key: new.extensions[key]} if key in new.extensions else {})


def _spec(old: Container, new: Container) -> Container:
    """A spec of somebody's own is no longer the one that the stored request asked for."""
    changes: dict[str, Any] = {"spec": new.spec, "spec_type": new.spec_type}
    if new.spec != old.spec:
        changes["desired"] = {}
    return evolve(old, **changes)


_WHOLE: Final[Mapping[str, _Change]] = {
    "labels": lambda old, new: evolve(old, labels=_labels(new.labels)),
    "spec": _spec,
    "extensions": lambda old, new: evolve(old, extensions=dict(new.extensions)),
    "image": lambda old, new: evolve(old, image=new.image),
    "snapshotkey": lambda old, new: evolve(old, snapshot_key=new.snapshot_key),
}
