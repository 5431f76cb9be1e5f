# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes in containers, their stdio in frames: C(tricorn-stdio/1) as C(docs/http-api.md) of Tricorn has it."""

from __future__ import annotations

import json
import select
import struct

from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, refusal, request

PROTOCOL = "tricorn-stdio/1"
HEAD = struct.Struct(">BI")
STDIN, STDOUT, STDERR, STDIN_CLOSED, EXIT, ERROR, STARTED, EXEC = 0, 1, 2, 4, 6, 7, 8, 9
FRAME_SIZE = 1 << 18  # the agent takes up to 1 MiB


def encode(kind, payload=b""):
    return HEAD.pack(kind, len(payload)) + payload


class Decoder:
    """Cuts what the agent sends into frames."""

    def __init__(self):
        self._rest = bytearray()

    def feed(self, data):
        """Return the (kind, payload) that C(data) completes."""
        self._rest += data
        frames, offset = [], 0
        while len(self._rest) - offset >= HEAD.size:
            kind, length = HEAD.unpack_from(self._rest, offset)
            end = offset + HEAD.size + length
            if end > len(self._rest):
                break
            frames.append((kind, bytes(self._rest[offset + HEAD.size:end])))
            offset = end
        del self._rest[:offset]
        return frames


def outgoing(process, data):
    """Yield the frames of a client: the request for a process, its input, the input's end."""
    yield encode(EXEC, json.dumps(process).encode())
    for start in range(0, len(data), FRAME_SIZE):
        yield encode(STDIN, data[start:start + FRAME_SIZE])
    yield encode(STDIN_CLOSED)


def execute(stream, namespace, container, process, data):
    """Run a process to its end; return its exit code, stdout and stderr. Raises C(AgentError)."""
    place = request("POST", namespace, "containers", container, "exec")
    stream.send(
        b"POST %s HTTP/1.1\r\nHost: tricorn\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n"
        % (place.path.encode("ascii"), PROTOCOL.encode())
    )
    head, rest = stream.head()
    if stream.status(head) != 101:
        stream.answer(head + b"\r\n\r\n" + rest).result()
        raise AgentError("The agent does not speak %s" % PROTOCOL)
    return _Execution(stream, outgoing(process, data)).run(rest)


class _Execution:
    """Sends and receives at once: a process may not read on before its output is taken."""

    def __init__(self, stream, frames):
        self._stream = stream
        self._frames = frames
        self._pending = memoryview(b"")
        self._output = {STDOUT: [], STDERR: []}

    def run(self, received):
        link, decoder = self._stream.socket, Decoder()
        link.setblocking(False)
        sending = True
        while True:
            for kind, payload in decoder.feed(received):
                if kind in self._output:
                    self._output[kind].append(payload)
                elif kind == ERROR:
                    raise refusal(json.loads(payload))
                elif kind == EXIT:
                    code = json.loads(payload)["exit_code"]
                    return code, b"".join(self._output[STDOUT]), b"".join(self._output[STDERR])
            readable, writable, dummy = select.select([link], [link] if sending else [], [])
            sending = sending and (not writable or self._send(link))
            received = self._receive(link) if readable else b""

    def _receive(self, link):
        try:
            data = link.recv(1 << 18)
        except BlockingIOError:
            return b""
        except ConnectionResetError:
            data = b""
        if not data:
            raise AgentError("The connection to the agent at %s broke while the command was running" % self._stream.path)
        return data

    def _send(self, link):
        """Send what goes now; return whether there is more."""
        if not self._pending:
            self._pending = memoryview(next(self._frames, b""))
            if not self._pending:
                return False
        try:
            self._pending = self._pending[link.send(self._pending):]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            return False  # why is told by what it sent before
        return True
