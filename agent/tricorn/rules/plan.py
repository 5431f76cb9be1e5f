"""Desired state against what is there: which steps lead from one to the other. Pure.

Ansible's check and diff mode, `?plan=true` and the acting call all use these, so idempotency has one
implementation. The canonical desired request is stored with the container; comparing requests (not the
finished spec) sees removed options and stays quiet when only defaults of a newer agent differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from attrs import frozen

from tricorn.model.records import Container, TaskStatus
from tricorn.model.requests import Action, ContainerDesired
from tricorn.rules.live_limits import needs_new_container

# Keys that say how to get there rather than what is wanted
_TRANSPORT = frozenset({"state", "pull", "plain_http"})
# Keys that can be changed on a container without making it anew
_IN_PLACE = frozenset(
    {"labels", "stop_signal", "stop_timeout", "restart", "health", "resources", "log_size", "log_files"}
)
_ALIVE = frozenset({TaskStatus.RUNNING, TaskStatus.PAUSED})


def canonical(desired: ContainerDesired) -> dict[str, Any]:
    """Return the part of a request that is stored and compared, as plain JSON values."""
    raw = attrs.asdict(desired, value_serializer=_plain)
    return {key: value for key, value in raw.items() if key not in _TRANSPORT}


def _plain(_: Any, __: Any, value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


@frozen
class Steps:
    """What is to be done, in this order. `recreate` keeps the container's name and loses its files."""

    remove: bool = False
    create: bool = False
    update: bool = False
    start: bool = False
    stop: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.remove or self.create or self.update or self.start or self.stop

    def actions(self, name: str) -> tuple[Action, ...]:
        """Return the steps as clients read them."""
        why = ", ".join(self.reasons)
        if self.remove and self.create:
            named = [("recreate", True), ("start", self.start)]
        else:
            named = [
                ("stop", self.stop), ("remove", self.remove), ("create", self.create),
                ("update", self.update), ("start", self.start),
            ]  # fmt: skip
        return tuple(Action(verb, f"container/{name}", why) for verb, wanted in named if wanted)


def container_steps(
    current: Container | None,
    status: TaskStatus | None,
    desired: ContainerDesired,
    image_digest: str,
) -> Steps:
    """Decide how to bring a container to `desired`.

    `image_digest` is what the image's name means now ("" while that is unknown: then the image never
    causes a change).
    """
    if desired.state == "absent":
        return Steps(remove=current is not None, reasons=("wanted absent",) if current else ())
    wanted_running = desired.state == "started"
    if current is None:
        return Steps(create=True, start=wanted_running, reasons=("no such container",))
    differing = differences(current.desired, canonical(desired))
    hard = [key for key in differing if key not in _IN_PLACE]
    if "resources" in differing and needs_new_container(
        _value(current.desired, "resources"), _value(canonical(desired), "resources")
    ):
        hard.append("resources")
    if image_digest and current.image_digest and image_digest != current.image_digest:
        hard.append("image_digest")
    if hard:
        return Steps(
            remove=True, create=True, start=wanted_running, reasons=tuple(f"{k} differs" for k in hard)
        )
    running = status in _ALIVE
    return Steps(
        update=bool(differing),
        start=wanted_running and not running,
        stop=desired.state == "stopped" and running,
        reasons=tuple(f"{key} differs" for key in differing)
        + (("not running",) if wanted_running and not running else ())
        + (("running",) if desired.state == "stopped" and running else ()),
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two canonical requests differ; a key that only one has counts unless the
    other side's value is that key's default (requests stored by an older agent lack newer keys).
    """
    return [key for key in sorted({*old, *new}) if _value(old, key) != _value(new, key)]


def _value(request: Mapping[str, Any], key: str) -> Any:
    value = request[key] if key in request else _DEFAULTS.get(key)
    if key == "resources" and isinstance(value, Mapping):  # stored by an agent that knew fewer limits
        return {**_DEFAULTS[key], **value}
    return value


_DEFAULTS = canonical(ContainerDesired(image=""))


def label_changes(current: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the labels to set so that all of `wanted` hold; others are left alone."""
    return {key: value for key, value in wanted.items() if current.get(key) != value}


def merged_labels(current: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Apply a label update: an empty value removes its key (containerd's rule)."""
    merged = {**current, **changes}
    return {key: value for key, value in merged.items() if value or key not in changes}


def summary(actions: Sequence[Action]) -> str:
    """Return the actions on one line, for logs."""
    return ", ".join(f"{action.verb} {action.object}" for action in actions) or "nothing to do"
