"""Strict structuring: what is refused, and that the refusal names the place."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import InvalidArgument, TricornError
from tricorn.model.requests import ContainerDesired, ExecRequest
from tricorn.structuring import structure


@pytest.mark.parametrize(
    ("raw", "field", "words"),
    [
        ({"image": "x", "bogus": 1}, "bogus", "unknown key"),
        ({"image": 1}, "image", "expected text"),
        ({"args": []}, "image", "lacks"),
        ({"image": "x", "args": ["a", 1]}, "args[1]", "expected text"),
        ({"image": "x", "args": "sh"}, "args", "expected a list"),
        ({"image": "x", "env": {"A": 1}}, "env", "'A'"),
        ({"image": "x", "env": ["A=1"]}, "env", "expected an object"),
        ({"image": "x", "mounts": [{"target": "/x", "nope": 1}]}, "mounts[0].nope", "unknown key"),
        ({"image": "x", "resources": {"memory": "64m"}}, "resources.memory", "whole number"),
        ({"image": "x", "resources": {"memory": True}}, "resources.memory", "whole number"),
        ({"image": "x", "read_only": 1}, "read_only", "true or false"),
        ({"image": "x", "stop_timeout": "3"}, "stop_timeout", "number"),
        ({"image": "x", "state": "foo"}, "state", "none of"),
    ],
)
def test_a_refusal_names_the_field(raw: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        structure(raw, ContainerDesired, "the request")
    assert caught.value.field == field
    assert words in str(caught.value)


def test_unknown_keys_are_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgument) as caught:
        structure({"args": ["true"], "environment": {}}, ExecRequest, "the request")
    assert "env" in caught.value.hint
    assert "timeout" in caught.value.hint


def test_a_list_is_no_object() -> None:
    with pytest.raises(InvalidArgument, match="expected an object"):
        structure([], ContainerDesired, "the request")


def test_values_are_taken_as_they_are() -> None:
    desired = structure(
        {
            "image": "x",
            "args": ["a"],
            "stop_timeout": 3,
            "resources": {"memory": 1},
            "mounts": [{"target": "/t"}],
        },
        ContainerDesired,
    )
    assert desired.args == ("a",)
    assert desired.stop_timeout == 3.0
    assert desired.resources.memory == 1
    assert desired.mounts[0].target == "/t"
    assert structure({"image": "x", "args": None}, ContainerDesired).args is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["image", "args", "env", "mounts", "resources", "labels", "state", "tty"])


@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_any_json_gives_a_value_or_a_typed_error(raw: Any) -> None:
    with suppress(TricornError):
        assert isinstance(structure(raw, ContainerDesired), ContainerDesired)
