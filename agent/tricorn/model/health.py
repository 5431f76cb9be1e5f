"""Health of containers: how it is asked for, and what came of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from attrs import frozen


class HealthStatus(StrEnum):
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@frozen
class HealthCheck:
    """One of three probes: `exec` runs a program in the container (0 is well), `tcp` connects to a port, and
    `http` asks a URL (200 to 399 is well), both in the container's own network.

    Times in seconds. `retries` failures in a row make it unhealthy; those in its first `start_period` don't
    count. Until it is healthy for the first time it is asked every two seconds at least. `on_unhealthy` may
    `kill` it, and what follows is its restart policy's.
    """

    exec: tuple[str, ...] = ()
    tcp: int = 0
    http: str = ""
    interval: float = 30.0
    timeout: float = 5.0
    retries: int = 3
    start_period: float = 0.0
    on_unhealthy: Literal["none", "kill"] = "none"


@frozen
class HealthView:
    """`failures` in a row; `note` says what the last probe found, at `checked_at`."""

    status: HealthStatus
    failures: int = 0
    note: str = ""
    checked_at: datetime | None = None
