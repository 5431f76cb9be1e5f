"""containerd's filter grammar, and patterns that can't be made slow."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricorn.errors import InvalidArgument
from tricorn.model import filters
from tricorn.model.ids import Digest
from tricorn.model.linear_regex import Pattern
from tricorn.model.oci import Descriptor
from tricorn.model.records import Container, Event, Image, Snapshot, SnapshotKind

IMAGE = Image(
    "docker.io/library/redis:7",
    Descriptor("application/vnd.oci.image.index.v1+json", Digest.of(b"x"), 10),
    {"role": "cache", "a.b/c": "d", "empty": "", 'quo"te': "e"},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("name==docker.io/library/redis:7", True),
        ("name == docker.io/library/redis:7", True),
        ("name==redis", False),
        ("name!=redis", True),
        ("name~=redis", True),
        ("name~=^redis", False),
        ("name~=/redis:[0-9]+$/", True),
        (r"name~=/docker.io\/library/", True),
        (r'name~="redis:\x37"', True),
        ("name~=|redis|", True),
        ("name", True),
        ("labels.role==cache", True),
        ('labels."role"==cache', True),
        ('labels."a.b/c"==d', True),
        ("labels.role", True),
        ("labels.missing", False),
        ("labels.missing!=x", True),
        ('labels.missing==""', False),
        ("labels.empty", True),
        ('labels.empty==""', True),
        (r'labels."quo\"te"==e', True),
        (r'labels."quo\u0022te"==e', True),
        ("labels.role==cache,name~=redis", True),
        ("labels.role==cache , name~=mysql", False),
        ("target.mediatype~=index", True),
        ("target.media_type~=index", True),
        ("target.size==10", True),
        (f"target.digest=={Digest.of(b'x')}", True),
        ("nothing.such", False),
        ("name.deeper", False),
        ("labels", False),
    ],
)
def test_matching(text: str, expected: bool) -> None:
    assert filters.parse(text).matches(IMAGE) is expected


def test_an_unquoted_path_into_labels_is_joined() -> None:
    assert filters.parse("labels.a.b==c").matches({"labels": {"a.b": "c"}})
    assert filters.parse("labels.a.b==c").matches({"labels": {"a": {"b": "c"}}})


def test_other_values() -> None:
    assert filters.parse("kind==committed").matches(Snapshot("o", "k", SnapshotKind.COMMITTED, "1"))
    assert not filters.parse("parent").matches(Snapshot("o", "k", SnapshotKind.COMMITTED, "1"))
    event = Event(
        1, datetime(2026, 1, 1, tzinfo=UTC), "n", "/tasks/exit", {"pid": 3, "oom": True, "x": {"y": "z"}}
    )
    for text in (
        "namespace==n", "event.pid==3", "event.oom==true", "event.x.y==z", "timestamp==2026-01-01T00:00:00Z",
    ):  # fmt: skip
        assert filters.parse(text).matches(event), text
    assert filters.parse('topic=="/tasks/exit"').matches(event)


def test_a_list_of_filters_is_a_disjunction() -> None:
    items = [Container("a"), Container("b"), Container("c")]
    assert filters.select(["id==a", "id==c"], items) == [items[0], items[2]]
    assert filters.select([], items) == items
    assert filters.select([""], items) == items
    assert filters.select(["id==x"], items) == []


@pytest.mark.parametrize(
    "text",
    [
        "name=", "name=redis", "name==", "==x", "name==a,", ",name", "name==a b", "na-me==x", 'name=="x',
        'name=="\n"', r'name=="\q"', r"name~=/\//x", 'labels.""x', "name==|x|", "name==/x/", r'name=="\ud800"',
        "name~=(", "name~=[z-a]", "name<a", "labels.==x", "x" * 5000, "name ~ x", r'name=="\/"',
        "topic==/tasks/exit",
    ],
)  # fmt: skip
def test_malformed_filters(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        filters.parse(text)
    assert caught.value.field == "filter"


# -- patterns
@pytest.mark.parametrize(
    "pattern",
    [
        "a", "a|b", "^ab*$", "(a|b)+c?", "[a-c]{2,3}", "[^a]", ".", "a{0}b", "(?:ab){2}", "(?i)AB", r"\d+\w\s",
        r"\ba", r"a\B", "", "a??", "(a*)*", "((a|b)*c)*", "a{,2}", r"[\]a-]", "x*", "(ab|cd){1,}$", r"\.", "[]a]",
        "(?P<n>a)", "^$", "a||b", "()", "[a-c-]", r"\x61", "(a{2}){2}",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "text", ["", "a", "ab", "abc", "aab", "cdcd", "b a", "AB", "a.b", "]-", "1a ", "aaaa", "a{,2}"]
)
def test_patterns_agree_with_pythons(pattern: str, text: str) -> None:
    if pattern == "a{,2}":  # literal in Go, a repetition in Python
        assert Pattern(pattern).search(text) is (pattern in text)
    else:
        assert Pattern(pattern).search(text) is bool(
            re.search(pattern.replace("$", r"\Z"), text, re.ASCII)
        ), pattern


pieces = st.recursive(
    st.sampled_from(["a", "b", "[ab]", "[^b]", ".", "^", r"\Z", r"\b"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}"])).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(pieces, st.text("abc\n", max_size=8))
def test_random_patterns_agree_with_pythons(pattern: str, text: str) -> None:
    assert Pattern(pattern.replace(r"\Z", "$")).search(text) is bool(re.search(pattern, text, re.ASCII))


def test_exponential_patterns_are_not() -> None:
    started = time.process_time()
    assert not Pattern(r"^(a+)+$").search("a" * 2000 + "b")
    assert not Pattern(r"(.*)*(.*)*(.*)*x").search("a" * 2000)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "pattern",
    ["*", "a**", "(", ")", "a)", "[", "[b-a]", r"\q", r"\1", "(?=a)", "(?<=a)", "(?<!a)", "a{2,1}", "a{1001}", "(a{100}){100}",
     "((a{30}){30}){30}", "(" * 60 + ")" * 60, "\\", r"\x1", "a" * 600, "(?i", r"[\q]"],
)  # fmt: skip
def test_malformed_and_oversized_patterns(pattern: str) -> None:
    with pytest.raises(InvalidArgument):
        Pattern(pattern)
