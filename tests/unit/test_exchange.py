"""The sans-IO exchange: requests as bytes, answers from bytes cut anywhere."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn import errors, limits
from tricorn.client import calls, image_calls
from tricorn.exchange import Call, Exchange, Head, Lines, Mark, decode, failure, outcome
from tricorn.frames import FrameKind, encode_document

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n" + b'{"a": 10}'


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def conversation(exchange: Exchange, *received: bytes) -> tuple[Head | None, bytes, bool]:
    """Feed what was received; return the head, the body and whether the answer is complete."""
    queue, head, body = list(received), None, b""
    while True:
        item = exchange.next()
        if isinstance(item, Head):
            head = item
            if head.upgraded:
                return head, body, False
        elif isinstance(item, bytes):
            body += item
        elif item is Mark.END:
            return head, body, True
        elif not queue:
            return head, body, False
        else:
            exchange.feed(queue.pop(0))


def sent(call: Call) -> tuple[str, dict[str, str], bytes]:
    head, _, body = Exchange().request(call).partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    return line, {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}, body


# ---------------------------------------------------------------- requests
def test_a_plain_request() -> None:
    line, headers, body = sent(calls.version())
    assert line == "GET /v1/version HTTP/1.1"
    assert headers["host"] == "tricorn"
    assert body == b""
    assert "content-length" not in headers


def test_a_body_is_json_with_its_length() -> None:
    line, headers, body = sent(calls.put_namespace("a", {"k": "ü"}, plan=True))
    assert line == "PUT /v1/namespaces/a?plan=true HTTP/1.1"
    assert json.loads(body) == {"labels": {"k": "ü"}}
    assert headers["content-length"] == str(len(body))
    assert headers["content-type"] == "application/json"


NO_TEXT = "\udcff"  # the byte FF on a command line, as Python has it


@pytest.mark.parametrize("bad", [{"cpus": float("nan")}, {"cpus": float("inf")}, [NO_TEXT], {NO_TEXT: 1}])
def test_what_json_can_not_say_is_refused(bad: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"isn't finite|b'\\xff' is in it"):
        sent(Call("PUT", "/v1/a", body=bad))


@pytest.mark.parametrize("text", [NO_TEXT, "\ud800"])
def test_names_and_words_that_are_no_text_are_refused(text: str) -> None:
    for ask in (
        lambda: calls.path(text),
        lambda: Call("GET", "/v1/a", (("filter", text),)).target(),
        lambda: encode_document(FrameKind.EXEC, {"args": [text]}),
    ):
        with pytest.raises(errors.InvalidArgument, match="isn't UTF-8"):
            ask()


def test_a_post_without_body_says_so() -> None:
    assert sent(calls.action("default", "web", "start"))[1]["content-length"] == "0"


@pytest.mark.parametrize(
    ("call", "header", "value"),
    [
        (image_calls.put_image("d", {}, stream=True), "accept", "application/x-ndjson"),
        (image_calls.put_image("d", {}, detach=True), "prefer", "respond-async"),
        (calls.attach("d", "web"), "upgrade", "tricorn-stdio/1"),
        (calls.exec_session("d", "web"), "connection", "Upgrade"),
    ],
)
def test_headers(call: Call, header: str, value: str) -> None:
    assert sent(call)[1][header] == value


@pytest.mark.parametrize(
    ("call", "target"),
    [
        (image_calls.image("default", "docker.io/library/redis:latest"), "/v1/default/images/docker.io%2Flibrary%2Fredis%3Alatest"),
        (calls.snapshot("d", "overlay", "a b/../c?#%"), "/v1/d/snapshots/overlay/a%20b%2F..%2Fc%3F%23%25"),
        (calls.containers("d", ["labels.a==b", "id"], all=False), "/v1/d/containers?all=false&filter=labels.a%3D%3Db&filter=id"),
        (calls.delete_container("d", "web", force=True, stop_timeout=0.5), "/v1/d/containers/web?force=true&stop_timeout=0.5"),
        (calls.logs("d", "web", follow=True, tail=0), "/v1/d/containers/web/logs?follow=true&tail=0"),
        (calls.events(None, since=0), "/v1/events?since=0"),
        (calls.events("d"), "/v1/d/events"),
        (calls.attach("d", "web", start=True), "/v1/d/containers/web/attach?start=true"),
        (calls.wait("d", "web"), "/v1/d/containers/web/wait?condition=stopped"),
        (calls.explain("d", "image/a"), "/v1/d/gc/explain?object=image%2Fa"),
        (image_calls.delete_image("d", "a"), "/v1/d/images/a"),
        (calls.snapshots("d"), "/v1/d/snapshots"),
    ],
)  # fmt: skip
def test_targets(call: Call, target: str) -> None:
    assert call.target() == target


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_name_is_always_one_segment(name: str) -> None:
    from urllib.parse import unquote

    encoded = calls.segment(name)
    assert not set(encoded) & set("/?#& \r\n")
    assert unquote(encoded) == name


def test_lease_bodies_hold_what_was_given_only() -> None:
    assert calls.create_lease("d").body == {}
    assert calls.create_lease("d", "x", {"a": "b"}, 5).body == {
        "id": "x",
        "labels": {"a": "b"},
        "expire_seconds": 5,
    }


# ---------------------------------------------------------------- answers
@given(st.lists(st.integers(0, 200), max_size=8))
def test_answers_cut_anywhere(cuts: list[int]) -> None:
    exchange = Exchange()
    exchange.request(calls.version())
    head, body, complete = conversation(exchange, *pieces(ANSWER, cuts))
    assert head == Head(200, {"content-type": "application/json", "content-length": "9"})
    assert (body, complete) == (b'{"a": 10}', True)
    assert exchange.reusable


def test_several_calls_on_one_connection() -> None:
    exchange = Exchange()
    for _ in range(3):
        assert exchange.reusable
        exchange.request(calls.version())
        assert not exchange.reusable
        assert conversation(exchange, ANSWER)[1:] == (b'{"a": 10}', True)


def test_a_connection_that_the_agent_closes_is_not_reused() -> None:
    exchange = Exchange()
    exchange.request(calls.version())
    answer = ANSWER.replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n")
    assert conversation(exchange, answer, b"")[2]
    assert not exchange.reusable


def test_interim_answers_are_skipped() -> None:
    exchange = Exchange()
    exchange.request(calls.version())
    head, _, _ = conversation(exchange, b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER)
    assert head is not None
    assert head.status == 200


@pytest.mark.parametrize("end", [0, 10, 60, len(ANSWER) - 1])
def test_an_answer_that_ends_early(end: int) -> None:
    exchange = Exchange()
    exchange.request(calls.version())
    with pytest.raises(errors.Unavailable, match="closed the connection"):
        conversation(exchange, *([ANSWER[:end]] if end else []), b"")


@pytest.mark.parametrize(
    "garbage", [b"220 mail ESMTP\r\n\r\n", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n\r\n"]
)
def test_what_is_not_http(garbage: bytes) -> None:
    exchange = Exchange()
    exchange.request(calls.version())
    with pytest.raises(errors.Internal, match="isn't HTTP"):
        conversation(exchange, garbage)


def test_headers_without_end() -> None:
    exchange = Exchange()
    exchange.request(calls.version())
    with pytest.raises(errors.Internal):
        conversation(exchange, b"HTTP/1.1 200 OK\r\nX: " + b"x" * (limits.HTTP_HEADERS + 1))


def test_an_upgrade_keeps_the_bytes_behind_it() -> None:
    exchange = Exchange()
    exchange.request(calls.attach("d", "web"))
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tricorn-stdio/1\r\n\r\n"
    head, _, _ = conversation(exchange, switch + b"\x08\x00")
    assert head is not None
    assert head.upgraded
    assert exchange.trailing == b"\x08\x00"
    assert not exchange.reusable


def test_an_upgrade_that_is_refused_is_an_answer() -> None:
    exchange = Exchange()
    exchange.request(calls.attach("d", "web"))
    head, body, complete = conversation(exchange, b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
    assert (head.status if head else 0, body, complete) == (404, b"{}", True)
    assert exchange.reusable


# ---------------------------------------------------------------- lines, failures
@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), max_size=5),
    st.lists(st.integers(0, 300), max_size=8),
    st.booleans(),
)
def test_lines_cut_anywhere(values: list[Any], cuts: list[int], last: bool) -> None:
    data = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    lines = Lines()
    found = [value for piece in pieces(data if last else data[:-1], cuts) for value in lines.feed(piece)]
    assert found + lines.finish() == values


def test_empty_lines_are_nothing() -> None:
    assert Lines().feed(b"\n\n{}\n  \n") == [{}]


def test_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLIENT_LINE", 100)
    lines = Lines()
    assert lines.feed(b"1\n" + b" " * 90) == [1]
    with pytest.raises(errors.ResourceExhausted):
        lines.feed(b" " * 11)


def test_decode_says_what_is_wrong() -> None:
    with pytest.raises(errors.Internal, match="isn't JSON"):
        decode(b"{")


def test_failures_come_back_as_they_were() -> None:
    original = errors.Conflict("c is held", why="by d", hint="wait", field="id", holder="d")
    rebuilt = failure(Head(409, {}), json.dumps(original.problem()).encode())
    assert type(rebuilt) is errors.Conflict
    assert rebuilt.problem() == original.problem()


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.InvalidArgument),
        (404, errors.NotFound),
        (503, errors.Unavailable),
        (500, errors.Internal),
        (418, errors.Internal),
    ],
)
@pytest.mark.parametrize("body", [b"", b"oops", b"[]", b'{"code": "Other"}', b"\xff"])
def test_failures_without_a_document(status: int, cls: type[errors.TricornError], body: bytes) -> None:
    assert type(failure(Head(status, {}), body)) is cls


def test_outcome() -> None:
    assert outcome({"progress": {"phase": "x"}}) == ("progress", {"phase": "x"})
    assert outcome({"result": None}) == ("result", None)
    with pytest.raises(errors.DataLoss, match="bad"):
        outcome({"error": errors.DataLoss("bad").problem()})
    for line in ({}, [], "x", {"other": 1}):
        with pytest.raises(errors.Internal):
            outcome(line)
