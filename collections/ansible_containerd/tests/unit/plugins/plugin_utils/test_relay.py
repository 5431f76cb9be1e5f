# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import shlex
import socket
import subprocess
import sys
import threading

import pytest

from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, request
from ansible_collections.tricorn.containerd.plugins.plugin_utils import _relay

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"a": 1}\n'


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Answer every connection at the socket C(s), and return what came."""
    monkeypatch.chdir(tmp_path)  # keeps the name of the socket short
    received = []
    server = socket.socket(socket.AF_UNIX)
    server.bind("s")
    server.listen()

    def serve():
        while True:
            try:
                connection, dummy = server.accept()
            except OSError:
                return
            with connection:
                received.append(connection.recv(65536))
                connection.sendall(ANSWER)

    thread = threading.Thread(target=serve)
    thread.start()
    yield received
    server.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    server.close()


def relayed(requests, path="s", timeout=10):
    words = shlex.split(_relay.command(sys.executable, path, timeout))
    done = subprocess.run(words, input=_relay.pack(requests), stdout=subprocess.PIPE, check=True, timeout=30)
    return done.stdout.decode()


def test_several_requests_travel_at_once(agent):
    requests = [request("GET", "version"), request("PUT", "x", body={"secret": "\u00e9"})]
    responses = _relay.unpack(relayed(requests), 2, "s", 10)
    assert [response.document for response in responses] == [{"a": 1}, {"a": 1}]
    assert agent == [message.encode() for message in requests]


def test_bodies_stay_off_the_command_line():
    assert "secret" not in _relay.command("python3", "s", 1)


def test_a_missing_socket_is_told_as_on_the_node(tmp_path):
    output = relayed([request("GET", "version")], path=str(tmp_path / "none"))
    with pytest.raises(AgentError, match="No such file or directory .hint: "):
        _relay.unpack(output, 1, "/run/s", 10)


def test_silence_is_told_as_on_the_node(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        server.listen()
        output = relayed([request("GET", "version")], timeout=0.1)
    with pytest.raises(AgentError, match="did not answer within 0.1 seconds"):
        _relay.unpack(output, 1, "s", 0.1)


def test_the_words_of_a_login_are_passed_over():
    line = _relay.MARK + base64.b64encode(ANSWER).decode()
    output = "Welcome!\r\n%sready\r\nbash: warning\r\n%s\r\n" % (_relay.MARK, line)
    assert _relay.unpack(output, 1, "s", 1)[0].document == {"a": 1}


def test_a_node_without_python_gets_the_module():
    with pytest.raises(_relay.RelayUnavailable):
        _relay.unpack("sh: 1: /usr/bin/python3: not found\n", 1, "s", 1)


def test_what_was_sent_is_not_sent_again():
    with pytest.raises(AgentError, match="broke"):
        _relay.unpack(_relay.MARK + "ready\n", 1, "s", 1)
