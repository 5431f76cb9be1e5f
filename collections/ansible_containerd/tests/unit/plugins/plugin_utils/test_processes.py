# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import socket
import threading

import pytest

from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError
from ansible_collections.tricorn.containerd.plugins.plugin_utils import _processes as processes
from ansible_collections.tricorn.containerd.plugins.plugin_utils._stream import Stream

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tricorn-stdio/1\r\n\r\n"


def executed(*sent, data=b""):
    """Execute with an agent that sends this, and takes everything; return the outcome and what it took."""
    ours, theirs = socket.socketpair()
    took = bytearray()

    def agent():
        # The client may be gone before all is sent: it leaves at the first sign that this isn't the agent.
        with theirs, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for each in sent:
                theirs.sendall(each)
            if sent[-1:] != (b"",):
                while chunk := theirs.recv(1 << 20):
                    took.extend(chunk)

    thread = threading.Thread(target=agent)
    thread.start()
    try:
        with Stream(ours, "/run/s", 30) as stream:
            outcome = processes.execute(stream, "shop", "web", {"args": ["cat"]}, data)
    finally:
        thread.join(10)
    return outcome, bytes(took)


def frame(kind, value):
    return processes.encode(kind, value if isinstance(value, bytes) else json.dumps(value).encode())


END = frame(processes.EXIT, {"exit_code": 3})


def test_output_comes_apart_and_whole():
    big = b"o" * 300000
    sent = [frame(processes.STARTED, {"pid": 1}), frame(processes.STDOUT, big), frame(processes.STDERR, b"\xff"), END]
    whole = b"".join(sent)
    outcome, dummy = executed(SWITCH + whole[:7], whole[7:200009], whole[200009:])
    assert outcome == (3, big, b"\xff")


def test_the_request_is_first_and_input_is_cut():
    data = b"i" * (processes.FRAME_SIZE + 1)
    frames = processes.Decoder().feed(b"".join(processes.outgoing({"args": ["cat"]}, data)))
    assert [kind for kind, dummy in frames] == [processes.EXEC, processes.STDIN, processes.STDIN, processes.STDIN_CLOSED]
    assert b"".join(payload for dummy, payload in frames[1:]) == data


def test_the_place_is_named_in_the_request():
    dummy, took = executed(SWITCH + END)
    assert took.startswith(b"POST /v1/shop/containers/web/exec HTTP/1.1\r\n")
    assert b"\r\nUpgrade: tricorn-stdio/1\r\n" in took


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b'HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n{"code": "NotFound", "detail": "no container"}', "no container"),
        (SWITCH + frame(processes.ERROR, {"detail": "not running", "hint": "start it"}), "not running .hint: start it"),
        (SWITCH + frame(processes.STARTED, {"pid": 1}), "broke while"),
        (b"SSH-2.0\r\n\r\n", "is not the agent"),
    ],
)
def test_refusals_and_breaks_are_told(sent, words):
    with pytest.raises(AgentError, match=words):
        executed(sent, b"")
