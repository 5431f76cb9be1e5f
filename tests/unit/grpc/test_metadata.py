"""Headers of calls: sorted, checked, and refused one stream at a time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.grpc.metadata import (
    MalformedHeaders,
    encode_metadata,
    encode_timeout,
    parse_request,
    parse_timeout,
    parse_trailers,
)
from tricorn.grpc.status import Code, RpcError
from tricorn_testing.grpc_calls import request_fields


def test_a_request_is_sorted() -> None:
    request = parse_request(
        request_fields(
            b"/a.B/C",
            (b"grpc-timeout", b"5S"),
            (b"x-a", b"1"),
            (b"x-a", b"2"),
            (b"k-bin", b"AP8"),
            (b"l-bin", b"AP8="),
        )
    )
    assert (request.method, request.path, request.content_type) == ("POST", "/a.B/C", "application/grpc")
    assert (request.timeout, request.encoding) == ("5S", "identity")
    assert request.metadata == {"x-a": "1,2"}
    assert request.binary == {"k-bin": b"\x00\xff", "l-bin": b"\x00\xff"}


@pytest.mark.parametrize(
    "fields",
    [
        [],
        request_fields()[1:],
        [*request_fields(), (b":path", b"/late")],
        [(b":path", b"/twice"), *request_fields()],
        [(b":unknown", b"x"), *request_fields()],
        [*request_fields(), (b"Upper", b"x")],
        [*request_fields(), (b"", b"x")],
        [*request_fields(), (b"\xff\xfe", b"x")],
        [*request_fields(), (b"x y", b"x")],
        [*request_fields(), (b"x", b"a\r\nb: c")],
        [*request_fields(), (b"x", b"\x00")],
        [*request_fields(), (b"connection", b"close")],
        [*request_fields(), (b"te", b"gzip")],
    ],
)
def test_what_http2_forbids_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(MalformedHeaders):
        parse_request(fields)


def test_broken_base64_is_told() -> None:
    with pytest.raises(RpcError, match="x-bin"):
        parse_request(request_fields(b"/a", (b"x-bin", b"*")))


def test_a_path_needs_no_utf8() -> None:
    assert parse_request(request_fields(b"/\xff")).path == "/\ufffd"


@pytest.mark.parametrize("text", ["", "5", "S", "123456789S", "5s", "-1S", "5SS", " 5S", "٣S"])
def test_malformed_timeouts(text: str) -> None:
    with pytest.raises(RpcError) as caught:
        parse_timeout(text)
    assert caught.value.status.code is Code.INTERNAL


@given(st.floats(min_value=0, max_value=1e12))
def test_timeouts_survive_rounded_up(seconds: float) -> None:
    back = parse_timeout(encode_timeout(seconds).decode())
    if seconds < 3e11:
        assert seconds - 1e-6 <= back <= max(seconds * 1.0001, seconds + 1e-5) + 1e-6
    assert math.isfinite(back)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Upper", "x"),
        ("grpc-status", "0"),
        ("te", "x"),
        (":path", "x"),
        ("a", b"x"),
        ("a-bin", "x"),
        ("a", "x\n"),
    ],
)
def test_what_grpc_forbids_is_not_sent(name: str, value: str | bytes) -> None:
    with pytest.raises(ValueError, match=name):
        encode_metadata(name, value)


@given(st.binary(max_size=60))
def test_binary_metadata_survives(value: bytes) -> None:
    assert parse_trailers([encode_metadata("x-bin", value)])[1] == {"x-bin": value}
