"""Health checks: which are sound, and what a probe's result makes of a container's health. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from tricorn.errors import InvalidArgument
from tricorn.model.health import HealthCheck, HealthStatus, HealthView

QUICK: Final = 2.0  # seconds between two probes of what isn't known to be healthy yet
SHORTEST: Final = 0.1
LONGEST: Final = 86_400.0
_RETRIES: Final = 1000
_ARGUMENTS: Final = 64 * 1024
_NOTE: Final = 300
_HINT: Final = "give one of exec: [program, …], tcp: PORT, http: http://127.0.0.1:PORT/path"


@frozen
class Target:
    """Where a `tcp` or `http` probe goes; `path` is "" for `tcp`."""

    host: str
    port: int
    path: str = ""


def check_health(check: HealthCheck | None) -> None:
    """Refuse a check that can't be carried out. InvalidArgument."""
    if check is None:
        return
    if sum(map(bool, (check.exec, check.tcp, check.http))) != 1:
        raise InvalidArgument("a health check has exactly one probe", hint=_HINT, field="health")
    for name in ("interval", "timeout"):
        _within(name, getattr(check, name), SHORTEST, LONGEST)
    _within("start_period", check.start_period, 0.0, LONGEST)
    _within("retries", check.retries, 1, _RETRIES)
    if check.exec:
        if sum(map(len, check.exec)) > _ARGUMENTS or any("\0" in word for word in check.exec):
            raise InvalidArgument("the program of the health check is malformed", field="health.exec")
    else:
        target_of(check)


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # NaN is neither
        raise InvalidArgument(f"{name} must be from {least:g} to {most:g}", field=f"health.{name}")


def target_of(check: HealthCheck) -> Target:
    """Return where the probe goes, by literal address only: names are nobody's to resolve in there."""
    if check.tcp:
        _within("tcp", check.tcp, 1, 65_535)
        return Target("127.0.0.1", check.tcp)
    try:
        url = urlsplit(check.http)
        host, port = url.hostname or "", url.port or 80
    except ValueError:
        raise _bad_url(check.http) from None
    clean = all(" " < character < "\x7f" for character in check.http)  # urlsplit drops some that aren't
    if url.scheme != "http" or url.username is not None or not clean:
        raise _bad_url(check.http)
    if host not in {"localhost", "127.0.0.1", "::1"}:
        raise InvalidArgument(
            f"the health check asks {host[:80]!r}", why="it is made inside the container's network",
            hint="http://127.0.0.1:PORT/path", field="health.http",
        )  # fmt: skip
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return Target("127.0.0.1" if host == "localhost" else host, port, path)


def _bad_url(url: str) -> InvalidArgument:
    return InvalidArgument(f"{url[:100]!r} is no URL of a health check", hint=_HINT, field="health.http")


def first() -> HealthView:
    """Return the health of what has just been started."""
    return HealthView(HealthStatus.STARTING)


def after(
    health: HealthView, check: HealthCheck, failure: str | None, *, ran: float, now: datetime
) -> HealthView:
    """Return the health after a probe: `failure` says what was wrong, None if nothing was. The container had
    been running for `ran` seconds.
    """
    if failure is None:
        return HealthView(HealthStatus.HEALTHY, 0, "", now)
    note = failure[:_NOTE]
    if health.status is HealthStatus.STARTING and ran < check.start_period:
        return HealthView(HealthStatus.STARTING, 0, note, now)
    failures = health.failures + 1
    status = HealthStatus.UNHEALTHY if failures >= check.retries else health.status
    return HealthView(status, failures, note, now)


def pause(health: HealthView, check: HealthCheck) -> float:
    """Return the seconds until the next probe."""
    return check.interval if health.status is HealthStatus.HEALTHY else min(check.interval, QUICK)
