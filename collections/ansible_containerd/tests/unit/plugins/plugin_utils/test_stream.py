# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import sys
import threading

import pytest

from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, request
from ansible_collections.tricorn.containerd.plugins.plugin_utils import _stream

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + b'{"a": 1}\n'


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Answer one connection at the socket C(s), which stays open until the other side closes it."""
    monkeypatch.chdir(tmp_path)  # keeps the name of the socket short
    server = socket.socket(socket.AF_UNIX)
    server.bind("s")
    server.listen()

    def serve():
        connection, dummy = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(ANSWER)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join(10)
    server.close()


def shell(text):
    return ["sh", "-c", text]


@pytest.mark.parametrize("greeting", ["", "echo Welcome; echo 'to the node'; "])
def test_a_stream_runs_through_a_program(agent, greeting):
    words = shell(greeting + _stream.command(sys.executable, "s"))
    with _stream.through(words, "s", 30) as stream:
        assert stream.call(request("GET", "version")).result() == {"a": 1}


def test_a_stream_of_this_machine(agent):
    with _stream.local("s", 30) as stream:
        assert stream.call(request("GET", "version")).result() == {"a": 1}


def test_a_missing_socket_is_told_from_a_missing_python(tmp_path):
    words = shell(_stream.command(sys.executable, str(tmp_path / "none")))
    with pytest.raises(AgentError, match="option 'socket'"):
        _stream.through(words, "/run/s", 30)
    with pytest.raises(_stream.NoStream) as missing:
        _stream.through(shell("no-such-python 2>&1"), "/run/s", 30)
    assert missing.value.status == 127


def test_what_ssh_says_is_told():
    with pytest.raises(_stream.NoStream, match="Permission denied") as refused:
        _stream.through(shell("echo Permission denied >&2; exit 255"), "/run/s", 30)
    assert refused.value.status == 255


def test_a_program_that_is_missing_is_told():
    with pytest.raises(_stream.NoStream, match="no-ssh"):
        _stream.through(["no-ssh"], "/run/s", 30)


def test_silence_has_a_bound(tmp_path):
    with pytest.raises(AgentError, match="within 0.1 seconds"):
        _stream.through(shell("sleep 0.5"), "/run/s", 0.1)
