"""Where streams go, as clients say it."""

from __future__ import annotations

import pytest

from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.model.stdio import NULL_STDIO, Stdio
from tricorn.rules.stdio_places import NOWHERE, Place, Places, parse_place, parse_places


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", NOWHERE),
        ("/run/f/stdout", Place("path", "/run/f/stdout")),
        ("fifo:///run/f/stdout", Place("path", "/run/f/stdout")),
        ("/run/f/../stdout", Place("path", "/run/stdout")),
        ("file:///var/log/a%20b", Place("file", "/var/log/a b")),
        ("streaming://web-out", Place("stream", stream="web-out")),
        ("streaming:///web-out", Place("stream", stream="web-out")),
        ("streaming://here?id=a%20b", Place("stream", stream="a b")),
        ("grpc+unix:///run/t.sock?streaming_id=web-out", Place("stream", stream="web-out")),
        ("ttrpc+unix:///run/t.sock?x=1&stream_id=web-out", Place("stream", stream="web-out")),
        ("binary:///bin/logger", Place("program", "/bin/logger")),
        ("binary:///bin/logger?--tag=a&-v=&x=1&x=2", Place("program", "/bin/logger", ("--tag", "a", "-v", "", "x", "1"))),
    ],
)  # fmt: skip
def test_a_place_is_read(text, place):
    assert parse_place(text, "stdout") == place


@pytest.mark.parametrize(
    "text",
    [
        "relative",
        "fifo://relative",
        "file://",
        "binary://x",
        "/a\0b",
        "/" + "x" * 5000,
        "streaming://",
        "grpc+unix:///run/t.sock?streaming_id=",
    ],
)
def test_what_is_no_place_is_refused_by_the_streams_name(text):
    with pytest.raises(InvalidArgument) as caught:
        parse_place(text, "stderr")
    assert caught.value.field == "stderr"


@pytest.mark.parametrize("text", ["grpc+vsock://3:7?streaming_id=a", "npipe:////./pipe/x", "http://host/"])
def test_other_ways_are_not_there(text):
    with pytest.raises(Unimplemented):
        parse_place(text, "stdin")


def test_nothing_is_nowhere():
    assert parse_places(NULL_STDIO) == Places()


def test_a_terminal_has_no_stderr():
    places = parse_places(Stdio("/in", "/out", "relative", terminal=True))
    assert places == Places(Place("path", "/in"), Place("path", "/out"), NOWHERE, terminal=True)


def test_a_logging_program_takes_both_outputs():
    for stderr in ("", "binary:///bin/logger?a=b"):
        places = parse_places(Stdio(stdout="binary:///bin/logger?a=b", stderr=stderr))
        assert places.stdout == places.stderr == places.program == Place("program", "/bin/logger", ("a", "b"))
    assert parse_places(Stdio(stdout="binary:///l", terminal=True)).stderr == NOWHERE


@pytest.mark.parametrize(
    "stdio",
    [
        Stdio(stdout="binary:///a", stderr="binary:///b"),
        Stdio(stdout="binary:///a", stderr="/fifo"),
        Stdio(stdout="/fifo", stderr="binary:///a"),
        Stdio(stderr="binary:///a"),
        Stdio(stdin="binary:///a"),
        Stdio(stdin="file:///a"),
    ],
)
def test_what_does_not_go_together_is_refused(stdio):
    with pytest.raises(InvalidArgument):
        parse_places(stdio)


def test_each_stream_is_named_once():
    places = parse_places(Stdio("streaming://a", "streaming://b", "streaming://c"))
    assert [places.stdin.stream, places.stdout.stream, places.stderr.stream] == ["a", "b", "c"]
    with pytest.raises(InvalidArgument):
        parse_places(Stdio("", "streaming://b", "streaming://b"))
