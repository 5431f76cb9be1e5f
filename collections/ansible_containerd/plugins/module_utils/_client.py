# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP/1.1 as the agent speaks it, apart from the way its bytes travel.

A C(Request) becomes bytes and bytes become a C(Response) without any I/O, so that a module on the node
(C(exchange)) and an action plugin that relays over an existing connection share all of it.
"""

from __future__ import annotations

import errno
import http.client
import io
import json
import os
import socket
from collections import namedtuple
from urllib.parse import quote, urlencode


class AgentError(Exception):
    """The request failed. The text is one line; C(document) holds the agent's problem document, if any."""

    def __init__(self, message, document=None):
        super().__init__(message)
        self.document = document


class Request(namedtuple("Request", "method path query body")):
    """One call of the agent. C(path) is percent-encoded already, C(query) is a list of pairs. C(body) is what
    becomes JSON, or bytes that stay as they are.
    """

    __slots__ = ()

    def encode(self):
        target = self.path + ("?" + urlencode(self.query) if self.query else "")
        lines = [
            "%s %s HTTP/1.1" % (self.method, target),
            "Host: tricorn",
            "Accept: application/json",
            "Connection: close",
        ]
        payload = b""
        if isinstance(self.body, bytes):
            payload = self.body
            lines.append("Content-Type: application/octet-stream")
        elif self.body is not None:
            payload = json.dumps(self.body).encode()
            lines.append("Content-Type: application/json")
        if self.method != "GET":
            lines.append("Content-Length: %d" % len(payload))
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + payload


def request(method, *segments, **options):
    """Build a request from path segments, which are encoded whole. Options: C(query), C(body)."""
    path = "/v1/" + "/".join(quote(segment, safe="") for segment in segments)
    return Request(method, path, list(options.get("query", ())), options.get("body"))


class Response(namedtuple("Response", "status document")):
    """The agent's answer: the HTTP status and the JSON document of the body."""

    __slots__ = ()

    @property
    def missing(self):
        return self.status == 404

    def result(self):
        """Return the document of a success, raise C(AgentError) for anything else."""
        if 200 <= self.status < 300:
            return self.document
        raise refusal(self.document, self.status)


def refusal(problem, status=0):
    """Return the error that a problem document tells of."""
    return AgentError(_one_line(problem, status), problem)


def _one_line(problem, status):
    text = problem.get("detail") or problem.get("title") or "the agent answered with HTTP status %d" % status
    if problem.get("field"):
        text = "%s: %s" % (problem["field"], text)
    if problem.get("hint"):
        text = "%s (hint: %s)" % (text, problem["hint"])
    return " ".join(text.split())


class _Received:
    """What C(http.client.HTTPResponse) needs of a socket."""

    def __init__(self, data):
        self._data = data

    def makefile(self, mode="rb"):
        return io.BytesIO(self._data)


def parse(data):
    """Turn all bytes that the agent sent for one request into a C(Response)."""
    if not data:
        raise AgentError("The agent closed the connection without an answer (hint: see the agent's log)")
    try:
        received = http.client.HTTPResponse(_Received(data))
        received.begin()
        text = received.read()
        kind = received.headers.get("Content-Type", "").partition(";")[0]
        if kind == "application/x-ndjson":
            return _of_lines(received.status, [json.loads(line) for line in text.splitlines()])
        if kind == "text/plain":
            return Response(received.status, {"text": text.decode("utf-8", "replace")})
        document = json.loads(text) if text else {}
    except (http.client.HTTPException, ValueError) as error:
        raise AgentError("What answers at the socket is not the agent: %s" % (error or type(error).__name__))
    if not isinstance(document, dict):
        raise AgentError("The agent answered with a JSON document that is not an object")
    return Response(received.status, document)


def _of_lines(status, lines):
    """Return the response of a stream; an error that came after its first lines is the whole of it."""
    if lines and set(lines[-1]) == {"error"}:
        problem = lines[-1]["error"]
        return Response(problem.get("status", 500), problem)
    return Response(status, {"items": lines})


def unreachable(path, number):
    """Return the error that tells why the socket at C(path) refused, C(number) being an errno."""
    hints = {
        errno.ENOENT: "is the agent running there, and is the option 'socket' right?",
        errno.ECONNREFUSED: "nothing listens on the socket any more; start the agent",
        errno.EACCES: "the user needs to be root or in the socket's group; try 'become: true'",
        errno.EPERM: "the user needs to be root or in the socket's group; try 'become: true'",
        errno.EAGAIN: "the agent's backlog is full; try again",
    }
    message = "Cannot talk to the agent at %s: %s" % (path, os.strerror(number))
    return AgentError("%s (hint: %s)" % (message, hints[number]) if number in hints else message)


def unanswered(path, timeout):
    """Return the error that tells of an agent that was silent for too long."""
    return AgentError(
        "The agent at %s did not answer within %g seconds (hint: raise the option 'timeout'; "
        "the agent has stopped the work)" % (path, timeout)
    )


def exchange(path, data, timeout):
    """Send C(data) to the unix socket at C(path) and return everything up to the end of the stream.

    The sending side stays open until then: to the agent, a client that has gone means cancelled work.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout or None)
        connection.connect(path)
        connection.sendall(data)
        chunks = []
        while True:
            chunk = connection.recv(65536)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
    except socket.timeout:
        raise unanswered(path, timeout)
    except OSError as error:
        raise unreachable(path, error.errno)
    finally:
        connection.close()
