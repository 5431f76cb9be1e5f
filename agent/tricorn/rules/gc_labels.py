"""The grammar of containerd's garbage collection labels. What can't be read is ignored, as there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from tricorn.errors import InvalidArgument

_GC: Final = "containerd.io/gc."
REFERENCE: Final = _GC + "ref."
BACK_REFERENCE: Final = _GC + "bref."
CONDITION: Final = _GC + "cond.snapshot."
USED_AT: Final = _GC + "cond.value-usedat"
EXPIRE: Final = _GC + "expire"
FLAT: Final = _GC + "flat"
ROOT: Final = _GC + "root"

_FORWARD_KINDS: Final = ("content", "image", "mount", "stream")
_BACK_KINDS: Final = ("container", "content", "image")
_CLAUSE: Final = re.compile(r"\s*usedat\s*(?P<operator>[<>])\s*(?P<duration>[^|]+)\|(?P<key>.+)")
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)")
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?P<fraction>\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)")


def loosens(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Tell whether an object with the labels `new` may keep less, or be kept less, than it was with `old`."""
    lost = any(key.startswith(_GC) and new.get(key) != value for key, value in old.items())
    return lost or (EXPIRE in new and EXPIRE not in old)


def parse_time(text: str) -> datetime | None:
    """Return the RFC 3339 time, None if it isn't one. Fractions beyond microseconds are cut off."""
    match = _RFC3339.fullmatch(text)
    if not match:
        return None
    if match["fraction"]:
        text = text.replace(match["fraction"], match["fraction"][:7], 1)
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None


def parse_duration(text: str) -> timedelta | None:
    """Return the duration in Go's notation (`1h30m`, `.5s`), None if it isn't one or is out of range."""
    sign = -1 if text.startswith("-") else 1
    rest = text.strip().lstrip("+-")
    if rest == "0":
        return timedelta()
    parts = _DURATION.findall(rest)
    if not parts or "".join(parts) != rest:
        return None
    seconds = 0.0
    for part in parts:
        number = part.rstrip("nuµμmsh")
        seconds += float(number) * _UNITS[part[len(number) :]]
    try:
        return timedelta(seconds=sign * seconds)
    except OverflowError:
        return None


def expiry_after(now: datetime, seconds: float) -> str:
    """Return the value of EXPIRE for what is to end so long after `now`; InvalidArgument naming
    `expire_seconds` when that is beyond what a time can say.
    """
    try:
        return (now + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        hint = "0 is for one that never ends"
        raise InvalidArgument(
            "a lease can't end after the year 9999", hint=hint, field="expire_seconds"
        ) from None


def references(labels: Mapping[str, str], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield (label, kind, key) of the references with `prefix`: REFERENCE or BACK_REFERENCE.

    `gc.ref.content`, `gc.ref.content.l.0` and `gc.ref.content/x` all name content; in
    `gc.ref.snapshot.SS/x` the text after the slash is ignored.
    """
    kinds = _FORWARD_KINDS if prefix == REFERENCE else _BACK_KINDS
    for label, value in labels.items():
        if not label.startswith(prefix):
            continue
        name = label[len(prefix) :]
        if name.startswith("snapshot."):
            snapshotter = name.removeprefix("snapshot.").partition("/")[0]
            yield label, "snapshot", f"{snapshotter}/{value}"
            continue
        for kind in kinds:
            if name == kind or name.startswith((f"{kind}.", f"{kind}/")):
                yield label, kind, value


@frozen
class Condition:
    """`usedat<DURATION`: the snapshot was used less than DURATION ago; `>`: longer ago than that."""

    label: str
    snapshot: str  # SNAPSHOTTER/KEY
    operator: str
    duration: timedelta

    def holds(self, used_at: datetime, now: datetime) -> bool:
        age = now - used_at
        return age < self.duration if self.operator == "<" else age > self.duration

    def ends_at(self, used_at: datetime) -> datetime | None:
        """Return when it stops to hold; None if it never does."""
        if self.operator == ">":
            return None
        try:
            return used_at + self.duration
        except OverflowError:
            return None


def conditions(labels: Mapping[str, str]) -> Iterator[Condition]:
    """Yield the readable clauses of all conditions; any that holds is enough."""
    for label, value in labels.items():
        if not label.startswith(CONDITION):
            continue
        snapshotter = label[len(CONDITION) :].partition("/")[0]
        for text in value.split(","):
            clause = _CLAUSE.fullmatch(text)
            duration = parse_duration(clause["duration"].strip()) if clause else None
            if clause and duration is not None:
                yield Condition(label, f"{snapshotter}/{clause['key']}", clause["operator"], duration)
