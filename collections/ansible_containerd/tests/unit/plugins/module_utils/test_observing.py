# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, Response, parse
from ansible_collections.tricorn.containerd.tests.unit.scripted_agent import run


def page(*items, **more):
    return Response(200, dict({"items": list(items), "cursor": 9, "lost": 0}, **more))


def stream(status, kind, *lines):
    body = "".join(line + "\n" for line in lines).encode()
    return b"HTTP/1.1 %d Any\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(body)) + body


def test_lines_become_items():
    answer = parse(stream(200, b"application/x-ndjson", '{"text": "a"}', '{"text": "b"}'))
    assert answer.result() == {"items": [{"text": "a"}, {"text": "b"}]}
    assert parse(stream(200, b"application/x-ndjson")).result() == {"items": []}


def test_an_error_after_lines_is_an_error():
    problem = json.dumps({"error": {"status": 412, "detail": "it is gone"}})
    with pytest.raises(AgentError, match="it is gone"):
        parse(stream(200, b"application/x-ndjson", '{"text": "a"}', problem)).result()


def test_text_stays_text():
    assert parse(stream(200, b"text/plain; version=0.0.4", "a 1", "b 2")).result() == {"text": "a 1\nb 2\n"}


def test_logs_by_stream():
    lines = [{"timestamp": "t", "stream": stream, "text": text} for stream, text in (("stdout", "a"), ("stderr", "b"))]
    result, (asked,) = run("container_logs", page(*lines), container="c", since="2026-01-01T00:00:00Z")
    assert asked.path == "/v1/default/containers/c/logs"
    assert asked.query == [("since", "2026-01-01T00:00:00Z"), ("tail", 1000)]
    assert (result["stdout"], result["stderr_lines"], len(result["lines"])) == ("a", ["b"], 2)
    result, (asked,) = run("container_logs", page(), container="c", tail=0, until="2026-01-01T00:00:00Z")
    assert asked.query == [("until", "2026-01-01T00:00:00Z")]


def test_events_of_a_namespace_or_of_all():
    result, (asked,) = run("event_info", page({"sequence": 9}), namespace="n", since=3)
    assert (asked.path, asked.query) == ("/v1/n/events", [("limit", 1000), ("since", 3)])
    assert (result["events"], result["cursor"], result["lost"]) == ([{"sequence": 9}], 9, 0)
    result, (asked,) = run("event_info", page(lost=2))
    assert asked.path == "/v1/events"
    assert "2 events" in result["warnings"][0]


def test_filters_are_asked_on_until_the_end_of_the_journal():
    answers = [page({"sequence": 5}, cursor=7), page(cursor=9), page(cursor=9)]
    result, asked = run("event_info", *answers, filters=["topic==/x"])
    assert [dict(message.query).get("since") for message in asked] == [None, 7, 9]
    assert result["events"] == [{"sequence": 5}]


def test_events_are_waited_for_from_cursor_to_cursor():
    answers = [page({"sequence": 5}, cursor=5), page({"sequence": 8}, cursor=8)]
    result, asked = run("event_wait", *answers, filters=["topic==/x"], since=3, count=2)
    assert [dict(message.query)["since"] for message in asked] == [3, 5]
    assert 50 < float(dict(asked[0].query)["wait"]) <= 60
    assert ("filter", "topic==/x") in asked[0].query
    assert ([each["sequence"] for each in result["events"]], result["cursor"]) == ([5, 8], 8)
    assert not result.get("failed")


def test_without_a_cursor_the_journal_ends_now():
    asked = run("event_wait", page({"sequence": 5}), namespace="n", wait_timeout=2)[1]
    assert [key for key, dummy in asked[0].query] == ["wait"]


def test_events_that_do_not_come_in_time_fail():
    result, dummy = run("event_wait", page(cursor=3), wait_timeout=0)
    assert (result["failed"], result["cursor"]) == (True, 3)
    assert result["msg"] == "0 of 1 events came within 0 seconds"
