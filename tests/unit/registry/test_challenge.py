"""WWW-Authenticate lines, well and badly formed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.registry.challenge import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ['Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'],
            [("bearer", {"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:a/b:pull,push"})],
        ),
        (["Basic realm=test"], [("basic", {"realm": "test"})]),
        (["Basic"], [("basic", {})]),
        (['Negotiate, Basic realm="a, b"'], [("negotiate", {}), ("basic", {"realm": "a, b"})]),
        (['Negotiate YWJj==, Basic realm="x"'], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (['Basic realm="x", Bearer realm="y" , service = "z"'], [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "service": "z"})]),
        (['Basic realm="x"', 'bearer REALM="y"'], [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        ([r'Basic realm="a \"quoted\" word\\"'], [("basic", {"realm": r'a "quoted" word' + "\\"})]),
        (['Bearer realm="first",realm="second"'], [("bearer", {"realm": "first"})]),
        (['Bearer realm="unterminated'], [("bearer", {})]),
        ([""], []),
        (["=,=,="], []),
        ([], []),
    ],
)  # fmt: skip
def test_challenges(lines: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(lines) == tuple(Challenge(*each) for each in expected)


@given(st.lists(st.text(max_size=80) | st.text(alphabet='Basicrelm=", \\', max_size=80), max_size=3))
def test_nothing_raises(lines: list[str]) -> None:
    assert len(parse_challenges(lines)) <= 8


@pytest.mark.parametrize("text", ["a" * 60_000, 'Basic realm="' + "\\" * 60_000, "a," * 30_000, "Basic " + "a=b," * 15_000,
                                  "Basic " + " " * 60_000, "Basic a" + " " * 30_000 + "=", "," * 60_000])  # fmt: skip
def test_long_lines_take_no_time(text: str) -> None:
    started = time.process_time()
    parse_challenges([text] * 4)
    assert time.process_time() - started < 1.0
