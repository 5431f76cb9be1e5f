"""Identifiers, namespaces, digests and labels."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest, identifier, labels, namespace


@pytest.mark.parametrize("value", ["a", "A1", "a-b", "a.b_c", "0", "a" * 76])
def test_good_identifiers(value: str) -> None:
    assert identifier(value) == value


@pytest.mark.parametrize(
    "value", ["", "-a", "a-", "a--b", "a..b", "a/b", "..", ".", "a b", "a\n", "ä", "a" * 77, "²"]
)
def test_bad_identifiers(value: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        identifier(value, "container")
    assert caught.value.field == "container"


def test_version_is_no_namespace() -> None:
    assert namespace("default") == "default"
    with pytest.raises(InvalidArgument):
        namespace("version")


@given(st.binary(max_size=200), st.sampled_from(["sha256", "sha384", "sha512"]))
def test_digests_of_data_parse(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm)
    assert Digest.parse(str(digest)) == digest
    assert digest.algorithm == algorithm
    assert digest.hex == hashlib.new(algorithm, data).hexdigest()
    assert digest.hex.startswith(digest.short)


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", "sha256:../../etc/passwd", "sha256:" + "a" * 63, "sha256:" + "a" * 65,
     "sha256:" + "A" * 64, "sha256:" + "g" * 64, "sha256:" + "a" * 64 + "\n", "SHA256:" + "a" * 64,
     "md5:" + "a" * 32, "sha512:" + "a" * 64, ":" + "a" * 64, "sha256:" + "a" * 32 + ":" + "a" * 31,
     "sha256:" + "٣" * 64],
)  # fmt: skip
def test_bad_digests(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Digest.parse(text)


@given(st.text(max_size=90))
def test_a_digest_is_a_safe_path_component(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidArgument:
        return
    assert set(digest.hex) <= set("0123456789abcdef")


def test_labels_are_bounded() -> None:
    assert labels({"a": "b"}) == {"a": "b"}
    assert labels({"k": "v" * 4095})
    for bad in ({"": "x"}, {"k": "v" * 4096}, {"k": "ä" * 2048}):
        with pytest.raises(InvalidArgument):
            labels(bad)
    with pytest.raises(InvalidArgument):
        labels({f"k{n}": "" for n in range(limits.LABELS_PER_OBJECT + 1)})


def test_labels_are_copied() -> None:
    source = {"a": "b"}
    checked = labels(source)
    source["a"] = "changed"
    assert checked == {"a": "b"}
