"""Health checks: what is refused, and how results become states."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.health import HealthCheck, HealthStatus, HealthView
from tricorn.rules.health import LONGEST, Target, after, check_health, first, pause, target_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STARTING, HEALTHY, UNHEALTHY = HealthStatus.STARTING, HealthStatus.HEALTHY, HealthStatus.UNHEALTHY


@pytest.mark.parametrize(
    ("check", "field"),
    [
        ({}, "health"),
        ({"tcp": 80, "exec": ("true",)}, "health"),
        ({"tcp": 65_536}, "health.tcp"),
        ({"tcp": -1}, "health.tcp"),
        ({"tcp": 80, "interval": 0.0}, "health.interval"),
        ({"tcp": 80, "interval": float("nan")}, "health.interval"),
        ({"tcp": 80, "timeout": LONGEST * 2}, "health.timeout"),
        ({"tcp": 80, "retries": 0}, "health.retries"),
        ({"tcp": 80, "start_period": -1.0}, "health.start_period"),
        ({"exec": ("a\0b",)}, "health.exec"),
        ({"exec": ("x" * 70_000,)}, "health.exec"),
        ({"http": "https://127.0.0.1/"}, "health.http"),
        ({"http": "http://example.org/"}, "health.http"),
        ({"http": "http://user@127.0.0.1/"}, "health.http"),
        ({"http": "http://127.0.0.1:99999/"}, "health.http"),
        ({"http": "http://127.0.0.1/a\r\nb"}, "health.http"),
        ({"http": "http://127.0.0.1/ä"}, "health.http"),
        ({"http": "http://[::1"}, "health.http"),
    ],
)
def test_checks_that_cannot_be_carried_out_are_refused(check: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_health(HealthCheck(**check))
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("check", "target"),
    [
        ({"tcp": 80}, Target("127.0.0.1", 80)),
        ({"http": "http://localhost"}, Target("127.0.0.1", 80, "/")),
        ({"http": "http://[::1]:8080/a?b=c"}, Target("::1", 8080, "/a?b=c")),
    ],
)
def test_where_probes_go(check: dict[str, Any], target: Target) -> None:
    check_health(HealthCheck(**check))
    assert target_of(HealthCheck(**check)) == target


def states(check: HealthCheck, *results: str | None, ran: float = 100.0) -> list[HealthStatus]:
    health, found = first(), []
    for result in results:
        health = after(health, check, result, ran=ran, now=NOW)
        found.append(health.status)
    return found


def test_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() -> None:
    check = HealthCheck(tcp=1, retries=2)
    assert states(check, "no", "no", None, "no", None, "no", "no") == [
        STARTING, UNHEALTHY, HEALTHY, HEALTHY, HEALTHY, HEALTHY, UNHEALTHY,
    ]  # fmt: skip


def test_failures_of_the_start_do_not_count() -> None:
    check = HealthCheck(tcp=1, retries=1, start_period=10)
    assert states(check, "no", "no", "no", ran=9.9) == [STARTING] * 3
    assert states(check, "no", ran=10.0) == [UNHEALTHY]
    assert states(check, None, "no", ran=1.0) == [HEALTHY, UNHEALTHY]


def test_the_note_is_the_last_failure_cut_to_a_line() -> None:
    health = after(first(), HealthCheck(tcp=1), "x" * 1000, ran=0, now=NOW)
    assert health == HealthView(STARTING, 1, "x" * 300, NOW)


def test_what_is_not_healthy_is_asked_more_often() -> None:
    check = HealthCheck(tcp=1, interval=30)
    assert pause(HealthView(HEALTHY), check) == 30
    assert pause(first(), check) == 2
    assert pause(HealthView(UNHEALTHY), HealthCheck(tcp=1, interval=0.5)) == 0.5
