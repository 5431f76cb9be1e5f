# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import json
import socket
import threading

import pytest

from ansible_collections.tricorn.containerd.plugins.module_utils._client import (
    AgentError,
    exchange,
    parse,
    request,
    unreachable,
)


def answer(status, document, reason="Any"):
    body = json.dumps(document).encode()
    head = "HTTP/1.1 %d %s\r\nContent-Length: %d\r\n\r\n" % (status, reason, len(body))
    return head.encode() + body


@pytest.fixture
def listener(tmp_path, monkeypatch):
    """Return a function that listens at C(path) for one connection and answers it with the given bytes."""
    monkeypatch.chdir(tmp_path)  # keeps the name of the socket short
    server = socket.socket(socket.AF_UNIX)
    server.bind("s")
    server.listen()
    received = []
    threads = []

    def serve(reply, wait=None):
        def run():
            connection, dummy = server.accept()
            with connection:
                received.append(connection.recv(65536))
                if wait:
                    wait.wait(10)
                with contextlib.suppress(BrokenPipeError):
                    connection.sendall(reply)

        threads.append(threading.Thread(target=run))
        threads[0].start()
        return received

    yield serve
    for thread in threads:
        thread.join(10)
    server.close()


def test_names_are_encoded_whole():
    message = request("GET", "default", "images", "docker.io/library/a b:1", query=[("plan", "true")])
    assert message.path == "/v1/default/images/docker.io%2Flibrary%2Fa%20b%3A1"
    assert message.encode().startswith(b"GET /v1/default/images/docker.io%2Flibrary%2Fa%20b%3A1?plan=true HTTP/1.1\r\n")


def test_a_body_travels_as_json_of_the_told_length():
    head, dummy, body = request("PUT", "x", body={"a": "\u00e9"}).encode().partition(b"\r\n\r\n")
    assert json.loads(body) == {"a": "\u00e9"}
    assert ("Content-Length: %d" % len(body)).encode() in head.splitlines()
    assert b"Content-Type: application/json" in head.splitlines()


def test_a_post_without_a_body_tells_so():
    assert b"Content-Length: 0\r\n" in request("POST", "x").encode()


def test_the_connection_ends_with_the_answer():
    assert b"\r\nConnection: close\r\n" in request("GET", "x").encode()


def test_a_document_is_parsed():
    response = parse(answer(200, {"a": 1}))
    assert response.result() == {"a": 1}
    assert not response.missing


def test_chunks_are_joined():
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n5\r\n": 1}\r\n0\r\n\r\n'
    assert parse(chunked).result() == {"a": 1}


def test_an_error_is_one_line_with_field_and_hint():
    problem = {"code": "InvalidArgument", "detail": "no such\n thing", "field": "image", "hint": "look", "extra": 1}
    with pytest.raises(AgentError) as caught:
        parse(answer(400, problem)).result()
    assert str(caught.value) == "image: no such thing (hint: look)"
    assert caught.value.document == problem


def test_an_error_without_words_tells_its_status():
    with pytest.raises(AgentError, match="HTTP status 503"):
        parse(answer(503, {})).result()


@pytest.mark.parametrize(
    "data", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>", answer(200, [1]), answer(200, {})[:-1]]
)
def test_what_is_no_answer_is_an_error(data):
    with pytest.raises(AgentError):
        parse(data)


def test_an_exchange_sends_and_receives_everything(listener):
    big = answer(200, {"text": "x" * 300000})
    received = listener(big)
    assert exchange("s", b"hello", 10) == big
    assert received == [b"hello"]


def test_silence_is_told_with_its_remedy(listener):
    done = threading.Event()
    listener(b"", wait=done)
    with pytest.raises(AgentError, match="within 0.05 seconds.*'timeout'"):
        exchange("s", b"hello", 0.05)
    done.set()


def test_a_missing_socket_is_told_with_its_remedy(tmp_path):
    with pytest.raises(AgentError, match="No such file or directory .hint: is the agent running"):
        exchange(str(tmp_path / "none"), b"", 1)


def test_a_forbidden_socket_is_told_with_its_remedy():
    assert "become" in str(unreachable("/run/s", errno.EACCES))


def test_an_unknown_reason_is_told_without_a_hint():
    assert str(unreachable("/run/s", errno.EPIPE)) == "Cannot talk to the agent at /run/s: Broken pipe"
