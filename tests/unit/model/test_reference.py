"""References: Docker's normalisation and distribution's grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import InvalidArgument
from tricorn.model.reference import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis", "docker.io/library/redis:latest"),
        ("redis:7", "docker.io/library/redis:7"),
        ("user/redis", "docker.io/user/redis:latest"),
        ("docker.io/redis", "docker.io/library/redis:latest"),
        ("index.docker.io/redis", "docker.io/library/redis:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a/b:x", "localhost:5000/a/b:x"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("Example.COM/a", "Example.COM/a:latest"),
        ("quay.io/a/b__c/d-e--f.g:V1.2_x-y", "quay.io/a/b__c/d-e--f.g:V1.2_x-y"),
        (f"redis@{DIGEST}", f"docker.io/library/redis@{DIGEST}"),
        (f"quay.io/a:t@{DIGEST}", f"quay.io/a:t@{DIGEST}"),
    ],
)
def test_references_are_normalised(text: str, expected: str) -> None:
    assert str(Reference.parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "redis ", "-redis", "a//b", "/a", "a/", "a:", "a:b:c", "quay.io/", "quay.io/A", "quay.io/a:-x",
     "a@sha256:abc", f"a@md5:{'a' * 32}", f"a@{DIGEST}@{DIGEST}", "quay.io/../a", "quay.io/a/..", "quay.io/.a",
     "quay..io/a", "quay.io:123456/a", "a" * 600, "quay.io/" + "a/" * 200 + "a", "a\n", "quay.io/a\x00", "ä",
     "[::1/a", "a___b", "http://quay.io/a", "quay.io/a?x", "quay.io/a#b", "user@quay.io/a", "%2e%2e/a"],
)  # fmt: skip
def test_malformed_references_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Reference.parse(text, "image")
    assert caught.value.field == "image"


def test_upper_case_gets_the_hint() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Reference.parse("quay.io/Team/App")
    assert "lower-case" in caught.value.hint


def test_object_and_familiar_name() -> None:
    assert Reference.parse("redis:7").object == "7"
    assert Reference.parse(f"redis:7@{DIGEST}").object == DIGEST
    assert Reference.parse("redis:7").familiar() == "redis:7"
    assert Reference.parse("user/app").familiar() == "user/app:latest"
    assert Reference.parse("quay.io/a").familiar() == "quay.io/a:latest"


@given(st.text(max_size=60) | st.text(alphabet="ab.:/@-_[]0A", max_size=40))
def test_what_parses_parses_again_to_the_same(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar()) == reference


@given(st.text(max_size=60) | st.text(alphabet="ab.:/@-_[]0A%?#", max_size=40))
def test_a_parsed_reference_is_safe_in_a_url_and_a_path(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return
    assert "/" not in reference.host
    assert ".." not in f"{reference.host}/{reference.path}".split("/")
    assert not set(reference.path) & set(" %?#\\\n\r\t:@")
    assert not set(reference.tag) & set(" %?#\\\n\r\t:@/")
