"""Refusals of registries: the error document's words, bounded; Retry-After in both forms."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn import limits
from tricorn.registry.answers import registry_message, retry_after
from tricorn.registry.connection import Head


def test_the_registrys_words() -> None:
    body = {"errors": [{"code": "DENIED", "message": "no\nentry"}, {"message": "really"}, 5]}
    assert registry_message(json.dumps(body).encode()) == "DENIED: no entry; really"


@pytest.mark.parametrize(
    "body", [b"", b"<html>secret</html>", b"[]", b'{"errors": 5}', b'{"errors": [{}]}', b"[" * 9999]
)
def test_nothing_else_is_quoted(body: bytes) -> None:
    assert registry_message(body) == ""


def test_words_are_bounded() -> None:
    body = {"errors": [{"code": "X", "message": "y" * 10_000}] * 50}
    assert len(registry_message(json.dumps(body).encode())) <= 300


@given(st.binary(max_size=60))
def test_any_body_is_read(body: bytes) -> None:
    assert registry_message(body).isprintable()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "9" * 400}, limits.REGISTRY_BACKOFF_MAX),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:05 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 5.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:05 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:05 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "٣"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(Head(429, tuple(headers.items()))) == expected
