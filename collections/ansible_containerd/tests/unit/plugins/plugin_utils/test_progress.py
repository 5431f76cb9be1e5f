# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import socket
import threading

import pytest

from ansible_collections.tricorn.containerd.plugins.callback.progress import Bars, Plain
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, request
from ansible_collections.tricorn.containerd.plugins.plugin_utils import _progress
from ansible_collections.tricorn.containerd.plugins.plugin_utils._stream import Stream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
LINES = [{"progress": {"phase": "download"}}, {"progress": {"phase": "unpack"}}, {"result": {"changed": True}}]


def watched(answer, method="PUT"):
    """Return the response to a request that is answered so, the progress, and what was asked."""
    ours, theirs = socket.socketpair()
    asked, told = [], []

    def agent():
        with theirs:
            asked.append(theirs.recv(65536))
            for start in range(0, len(answer), 40):  # lines come in pieces
                theirs.sendall(answer[start:start + 40])

    thread = threading.Thread(target=agent)
    thread.start()
    try:
        with Stream(ours, "/run/s", 30) as stream:
            response = _progress.watch(stream, request(method, "shop", "images", body={}), told.append)
    finally:
        thread.join(10)
    return response, told, asked[0]


def lines(*values):
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def chunked(*values):
    pieces = [lines(value) for value in values]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "answer", [HEAD + b"\r\n" + lines(*LINES), HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*LINES)]
)
def test_lines_are_told_and_the_last_is_the_answer(answer):
    response, told, asked = watched(answer)
    assert response.result() == {"changed": True}
    assert [each["phase"] for each in told] == ["download", "unpack"]
    assert b"application/x-ndjson" in asked


def test_an_answer_without_lines_is_an_answer():
    body = b'{"changed": false}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert watched(head + body)[:2] == ((200, {"changed": False}), [])
    assert b"ndjson" not in watched(head + body, "GET")[2]


def test_an_error_among_the_lines_is_the_answer():
    problem = {"status": 404, "code": "NotFound", "detail": "no such image"}
    response = watched(HEAD + b"\r\n" + lines(LINES[0], {"error": problem}))[0]
    with pytest.raises(AgentError, match="no such image"):
        response.result()


def test_an_agent_that_goes_is_told():
    with pytest.raises(AgentError, match="without an answer"):
        watched(HEAD + b"\r\n" + lines(LINES[0]))


def message(**progress):
    return dict({"host": "n1", "what": "image redis", "over": False, "phase": "download"}, **progress)


def test_a_line_tells_how_far_it_is():
    text = _progress.text(message(offset=1 << 20, total=3 << 20, rate=1 << 20, eta=1.6))
    assert text == "image redis: download 1.0 MiB of 3.0 MiB, 1.0 MiB/s, 2 s left"
    assert "\x1b" not in _progress.text(message(message="\x1b[2J"))


def test_what_workers_tell_comes_through_the_pipe():
    source = _progress.open_pipe()
    try:
        _progress.tell("n1", "image redis", {"phase": "download"})
        _progress.tell("n1", "image redis", {"phase": "x" * 5000})  # would be no single write
        _progress.tell("n1", "image redis")
    finally:
        _progress.close_pipe()
    assert not _progress.wanted()
    _progress.tell("n1", "nobody listens")
    with os.fdopen(source, "rb") as file:
        first, second, end = file.read().splitlines()
    assert (json.loads(first)["phase"], json.loads(second)["over"], end) == ("download", True, b"end")


@pytest.fixture
def shown(tmp_path):
    """Return a descriptor, and what was written to it."""
    descriptor = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    yield descriptor, lambda: (tmp_path / "out").read_bytes().decode()
    os.close(descriptor)


def test_plain_lines_are_occasional(shown):
    descriptor, written = shown
    now = [100.0]
    plain = Plain(descriptor, 5, clock=lambda: now[0])
    for seconds, phase in ((0, "started"), (0, "download"), (1, "download"), (6, "download"), (0, "unpack")):
        now[0] += seconds
        plain.show(message(phase=phase))
    plain.show(message(over=True))
    assert written() == "".join("n1  image redis: %s\n" % phase for phase in ("download", "download", "unpack"))


def test_a_host_has_one_line_that_goes(shown):
    descriptor, written = shown
    bars = Bars(descriptor)
    bars.clear()
    assert written() == ""
    bars.show(message())
    bars.show(dict(message(), host="n2"))
    assert written().endswith("\r\x1b[J\nn1  image redis: download\nn2  image redis: download\r\x1b[2A")
    bars.show(message(over=True))
    bars.show(dict(message(over=True), host="n2"))
    assert written().endswith("\r\x1b[J")
