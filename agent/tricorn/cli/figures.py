"""Sizes, ages and durations: for people to read, and from what they type."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tricorn.errors import InvalidArgument

_UNITS: Final = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_SHORT: Final = 12


def size(count: float) -> str:
    """Return bytes as people read them: 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def parse_size(text: str, field: str) -> int:
    """Return the bytes of 512m, 1.5GiB or 4096; raise InvalidArgument naming `field`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(
            f"{text!r} isn't a size", hint="write 512m, 1.5g or a number of bytes", field=field
        )
    try:
        return int(float(match[1]) * _UNITS[match[2].lower()])
    except OverflowError:
        raise InvalidArgument(f"{text!r} is too much", field=field) from None


def parse_duration(text: str, field: str) -> float:
    """Return the seconds of 90, 1.5h or 1h30m; raise InvalidArgument naming `field`."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidArgument(f"{text!r} isn't a duration", hint="write 90s, 10m or 1h30m", field=field)
    return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def moment(text: str, field: str, now: datetime | None = None) -> str:
    """Return the RFC 3339 time of a duration ago (10m) or of an ISO time; without a zone it is local."""
    if re.fullmatch(r"[\d.]+(ms|[smhd]).*", text):
        return shifted(now or datetime.now(UTC), -parse_duration(text, field), field).isoformat()
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as error:
        hint = "write 10m, or a time like 2026-01-31T12:00:00Z"
        raise InvalidArgument(f"{text!r} is neither a duration nor a time", hint=hint, field=field) from error


def shifted(now: datetime, seconds: float, field: str) -> datetime:
    """Return the moment so long after `now`; raise InvalidArgument naming `field` when there is none."""
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError:
        why = "times are within the years 1 to 9999"
        raise InvalidArgument("the time is too far off", why=why, field=field) from None


def duration(seconds: float) -> str:
    """Return the two leading units of a duration: 3 days 4 h is 3d4h."""
    left = int(max(seconds, 0))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def parse_time(text: Any) -> datetime | None:
    """Return the time of a field of the API, None when it is unset."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def age(text: Any, now: datetime | None = None) -> str:
    """Return how long ago a time of the API was, `-` when it is unset."""
    found = parse_time(text)
    return duration(((now or datetime.now(UTC)) - found).total_seconds()) if found else "-"


def short_digest(digest: str, *, full: bool = False) -> str:
    """Return the first digits of a digest, enough to tell one from another."""
    return digest if full else digest.rpartition(":")[2][:_SHORT]


def truncate(text: str, width: int, *, full: bool = False) -> str:
    return text if full or len(text) <= width else text[: width - 1] + "…"


def labels(values: dict[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((values or {}).items()))


def pairs(texts: tuple[str, ...], field: str) -> dict[str, str]:
    """Return KEY=VALUE texts as a dict; raise InvalidArgument naming `field`."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidArgument(f"{text!r} isn't KEY=VALUE", field=field)
        found[key] = value
    return found
