"""Messages of statuses travel through headers and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.grpc.status import Code, RpcError, code_of, decode_message, encode_message, status_of_http


@given(st.text(max_size=300))
def test_messages_survive(text: str) -> None:
    encoded = encode_message(text)
    assert decode_message(encoded) == text.encode("utf-8", "replace").decode()
    assert all(0x20 <= byte < 0x7F for byte in encoded)


def test_messages_are_bounded() -> None:
    assert len(decode_message(encode_message("ö" * 10_000)).encode()) <= 4096


@pytest.mark.parametrize(
    ("raw", "text"), [(b"%", "%"), (b"%4", "%4"), (b"a%zzb", "a%zzb"), (b"%41%", "A%"), (b"\xff", "\ufffd")]
)
def test_what_is_no_escape_stands_for_itself(raw: bytes, text: str) -> None:
    assert decode_message(raw) == text


def test_unknown_codes() -> None:
    assert code_of(5) is Code.NOT_FOUND
    assert code_of(99) is Code.UNKNOWN
    assert status_of_http(503).code is Code.UNAVAILABLE
    assert status_of_http(418).code is Code.UNKNOWN


def test_errors_tell_their_status() -> None:
    error = RpcError.of(Code.ABORTED, "no")
    assert str(error) == "ABORTED: no"
    assert error.status.message == "no"
