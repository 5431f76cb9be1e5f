# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far long work is: workers tell it to the process that shows it, through a pipe that they inherit.

Nobody waits for anybody: what the pipe has no room for is not shown, and without a callback that opened it nothing
is told at all.
"""

from __future__ import annotations

import json
import os
import time

from ansible_collections.tricorn.containerd.plugins.module_utils._client import Response, unanswered

LINES = "application/x-ndjson"
ATOMIC = 4096  # PIPE_BUF
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

_sink = None  # the pipe's writing end, in the process that shows progress and in all that it has forked


def open_pipe():
    """Have workers tell of progress from now on; return the end to read it from."""
    global _sink
    source, _sink = os.pipe()
    os.set_blocking(_sink, False)
    return source


def close_pipe():
    """Have nobody tell of progress any more; who reads comes to the end."""
    global _sink
    sink, _sink = _sink, None
    if sink is not None:
        os.write(sink, b"end\n")
        os.close(sink)


def wanted():
    """Return whether somebody shows progress."""
    return _sink is not None


def tell(host, what, progress=None):
    """Tell how far a host's work is; without C(progress), that it is over."""
    message = {"host": host, "what": what, "over": progress is None}
    message.update((key, (progress or {}).get(key)) for key in ("phase", "message", "offset", "total", "rate", "eta"))
    data = json.dumps(message).encode() + b"\n"
    if _sink is None or len(data) > ATOMIC:
        return
    try:
        os.write(_sink, data)
    except OSError:
        pass


def text(message):
    """Return one line that tells of a message, without its host."""
    words = "%s: %s" % (message["what"], message.get("phase") or "waits")
    if message.get("total"):
        words += " %s of %s" % (size(message.get("offset") or 0), size(message["total"]))
        if message.get("rate"):
            words += ", %s/s" % size(message["rate"])
        if message.get("eta") is not None:
            words += ", %d s left" % round(message["eta"])
    elif message.get("message"):
        words += ", %s" % message["message"]
    return "".join(character if character.isprintable() else "?" for character in words)


def size(count):
    """Return a number of bytes as people read it."""
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return "%.1f %s" % (count, UNITS[unit]) if unit else "%d B" % count


def watch(stream, request, report):
    """Return the C(Response) to a request, and C(report) each line of progress that comes before. Raises C(AgentError)."""
    if request.method not in ("PUT", "POST") or ("plan", "true") in request.query:
        return stream.call(request)
    asked = request.encode().replace(b"Accept: application/json\r\n", b"Accept: application/json, %s\r\n" % LINES.encode(), 1)
    stream.send(asked)
    return _Watch(stream, report).run()


class _Watch:
    """Reads an answer that may come in lines. The whole of it has the time that the stream has for one answer."""

    def __init__(self, stream, report):
        self._stream = stream
        self._report = report
        self._until = time.monotonic() + stream.timeout if stream.timeout else None

    def run(self):
        head, rest = self._stream.head()
        lower = head.lower()
        if b"content-type: %s" % LINES.encode() not in lower:
            return self._stream.answer(head + b"\r\n\r\n" + rest)
        status, body = self._stream.status(head), _Chunks() if b"transfer-encoding: chunked" in lower else _Plain()
        line = b""
        while True:
            for data in body.feed(rest):
                *lines, line = (line + data).split(b"\n")
                for each in lines:
                    response = self._take(status, json.loads(each))
                    if response is not None:
                        return response
            rest = self._receive()
            if not rest:
                return self._stream.answer(b"")  # tells that the agent has gone

    def _take(self, status, line):
        if "error" in line:
            return Response(line["error"].get("status", 500), line["error"])
        if "result" in line:
            return Response(status, line["result"])
        if "progress" in line:
            self._report(line["progress"])
        return None

    def _receive(self):
        if self._until is not None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise unanswered(self._stream.path, self._stream.timeout)
            self._stream.socket.settimeout(left)
        return self._stream.receive()


class _Plain:
    def feed(self, data):
        return [data]


class _Chunks:
    """Takes the body out of HTTP's chunks."""

    def __init__(self):
        self._rest = b""

    def feed(self, data):
        self._rest += data
        while True:
            length, end, rest = self._rest.partition(b"\r\n")
            size_of = int(length.partition(b";")[0] or b"0", 16) if end else 0
            if not end or not size_of or len(rest) < size_of + 2:
                return
            yield rest[:size_of]
            self._rest = rest[size_of + 2:]
