"""JSON out: what is encoded how, and how fast; JSON in is tests/unit/test_structuring.py's matter."""

from __future__ import annotations

import json
import time
from types import MappingProxyType
from typing import Any

import pytest

from tricorn.api.http.codec import decode_body, encode, encode_line
from tricorn.errors import InvalidArgument
from tricorn.model.requests import ContainerDesired, ExecRequest, StopRequest
from tricorn_testing.api import DIGEST, NOW, container


def test_values() -> None:
    value = {"d": DIGEST, "t": NOW, "m": MappingProxyType({"a": (1, None)}), "s": frozenset({"a"})}
    assert json.loads(encode(value)) == {
        "d": str(DIGEST), "t": "2026-01-31T12:00:00Z", "m": {"a": [1, None]}, "s": ["a"],
    }  # fmt: skip
    assert encode_line(container()).count(b"\n") == 1


def test_no_form() -> None:
    with pytest.raises(TypeError, match="object has no form in JSON"):
        encode({"x": object()})


def test_two_hundred_containers_in_a_millisecond() -> None:
    page = {"items": [container(f"web-{number}") for number in range(200)], "cursor": None}
    best = min(_seconds(page) for _ in range(20))
    assert best < 0.002  # 0.3 ms on an idle core


def _seconds(value: Any) -> float:
    began = time.perf_counter()
    encode(value)
    return time.perf_counter() - began


def test_empty_body_is_fine_where_nothing_is_required() -> None:
    assert decode_body(b" \n", StopRequest) == StopRequest()
    with pytest.raises(InvalidArgument, match="no body"):
        decode_body(b"", ExecRequest)


def test_nested() -> None:
    body = {
        "image": "r",
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
        "resources": {"cpus": 1},
    }
    desired = decode_body(json.dumps(body).encode(), ContainerDesired)
    assert desired.rlimits[0].hard == 2
    assert desired.resources.cpus == 1.0
    assert desired.args is None
