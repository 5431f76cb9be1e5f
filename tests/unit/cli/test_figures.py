from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tricorn.cli import figures
from tricorn.errors import InvalidArgument

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (150 * 1024, "150 KiB"),
        (1.5 * 1024**3, "1.5 GiB"),
        (3 * 1024**4, "3.0 TiB"),
    ],
)
def test_size(count: float, text: str) -> None:
    assert figures.size(count) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("512", 512), ("512m", 512 * 1024**2), ("1.5G", 1536 * 1024**2), ("2GiB", 2 * 1024**3), ("7kb", 7168)],
)
def test_parse_size(text: str, count: int) -> None:
    assert figures.parse_size(text, "--memory") == count


@pytest.mark.parametrize("text", ["", "m", "-5", "1x", "1 2", "9" * 400])
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        figures.parse_size(text, "--memory")
    assert caught.value.field == "--memory"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5h", 5400), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172800)]
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert figures.parse_duration(text, "-t") == seconds


@pytest.mark.parametrize("text", ["", "abc", "1x", "5m oops", "-3s"])
def test_parse_duration_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument):
        figures.parse_duration(text, "-t")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", "2026-01-31T11:50:00+00:00"),
        ("1h30m", "2026-01-31T10:30:00+00:00"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00+00:00"),
    ],
)
def test_moment(text: str, expected: str) -> None:
    assert figures.moment(text, "--since", NOW) == expected


def test_moment_refuses() -> None:
    with pytest.raises(InvalidArgument, match="neither a duration nor a time"):
        figures.moment("yesterday", "--since")
    with pytest.raises(InvalidArgument, match="too far off") as caught:
        figures.moment("99999999999999d", "--since")
    assert caught.value.field == "--since"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (3600, "1h"), (3 * 86400 + 4 * 3600 + 5, "3d4h"), (-5, "0s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert figures.duration(seconds) == text


def test_age() -> None:
    assert figures.age("2026-01-31T11:58:30.123456Z", NOW) == "1m29s"
    assert figures.age("2026-01-31T11:58:30", NOW) == "1m30s"
    assert figures.age(None) == "-"
    assert figures.age("nonsense") == "-"


def test_pairs_names_the_option() -> None:
    assert figures.pairs(("a=1", "b=", "c=x=y"), "--label") == {"a": "1", "b": "", "c": "x=y"}
    with pytest.raises(InvalidArgument) as caught:
        figures.pairs(("a",), "--label")
    assert caught.value.field == "--label"
