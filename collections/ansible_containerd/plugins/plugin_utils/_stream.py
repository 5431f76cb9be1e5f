# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stream of bytes to an agent's socket: on this machine, or at the far end of an ssh that is multiplexed.

Either way it is a real socket, which can be waited for and half of which can be full while the other half is read.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import tempfile

from ansible_collections.tricorn.containerd.plugins.module_utils._client import (
    AgentError,
    parse,
    unanswered,
    unreachable,
)

MARK = b"tricorn-stream "
LONGEST_GREETING = 1 << 20  # what a login may say before the first line of ours
FAREWELL = 5  # seconds that ssh has to end when its stream is closed

# Carries bytes both ways until one side ends. Its first line parts an interpreter that is missing from an agent
# that does not answer; the sending half never ends before the agent's does: to it that would be a client that left.
PROGRAM = """\
import os, socket, sys, _thread
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except OSError as e:
    sys.exit(print("tricorn-stream !%d" % e.errno))
print("tricorn-stream ready", flush=True)
def forth():
    try:
        for data in iter(lambda: os.read(0, 65536), b""):
            s.sendall(data)
        s.shutdown(2)
    except OSError:
        pass
_thread.start_new_thread(forth, ())
try:
    for data in iter(lambda: s.recv(65536), b""):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
except OSError:
    pass
os._exit(0)
"""


class NoStream(Exception):
    """There is no way to the socket, and nothing was sent. C(status) is the exit status of what should have led there."""

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


def command(python, path):
    """Return the shell command that carries the stream on a node."""
    return " ".join(shlex.quote(word) for word in (python, "-I", "-S", "-c", PROGRAM, path))


class Stream:
    """One connection to the agent behind the socket C(path). Close it, or use it as a context."""

    def __init__(self, link, path, timeout, process=None, complaints=None):
        self.socket = link
        self.path = path
        self.timeout = timeout
        self._process = process
        self._complaints = complaints

    def __enter__(self):
        return self

    def __exit__(self, *dummy):
        self.close()

    def close(self):
        self.socket.close()
        if self._process is not None:
            try:
                self._process.wait(FAREWELL)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._complaints is not None:
            self._complaints.close()

    def send(self, data):
        """Send bytes; an agent that has stopped listening has answered already, and is read next."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        except socket.timeout:
            raise unanswered(self.path, self.timeout)
        return True

    def receive(self, size=65536):
        try:
            return self.socket.recv(size)
        except ConnectionResetError:
            return b""
        except socket.timeout:
            raise unanswered(self.path, self.timeout)

    def call(self, request):
        """Return the C(Response) to one C(Request)."""
        self.send(request.encode())
        return self.answer(b"")

    def answer(self, received):
        """Return the C(Response) that begins with what was C(received) and ends with the connection."""
        return parse(received + b"".join(iter(self.receive, b"")))

    def head(self):
        """Return status line and headers of the answer, and what has come beyond them."""
        received = b""
        while b"\r\n\r\n" not in received:
            data = self.receive()
            if not data:
                parse(received)
                raise AgentError("The connection to the agent at %s broke in the middle of its answer" % self.path)
            received += data
        head, dummy, rest = received.partition(b"\r\n\r\n")
        return head, rest

    def status(self, head):
        try:
            return int(head.split(None, 2)[1])
        except (IndexError, ValueError):
            raise AgentError("What answers at the socket %s is not the agent" % self.path)


def local(path, timeout):
    """Return a stream to a socket of this machine. Raises C(AgentError)."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(timeout or None)
        link.connect(path)
    except socket.timeout:
        link.close()
        raise unanswered(path, timeout)
    except OSError as error:
        link.close()
        raise unreachable(path, error.errno)
    return Stream(link, path, timeout)


def through(argv, path, timeout):
    """Return a stream through a program that runs C(command(path)) somewhere.

    Raises C(NoStream) where that program failed, C(AgentError) where the agent's socket refused.
    """
    ours, theirs = socket.socketpair()
    complaints = tempfile.TemporaryFile()
    try:
        process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=complaints, start_new_session=True)
    except OSError as error:
        ours.close()
        complaints.close()
        raise NoStream("%s: %s" % (argv[0], error.strerror)) from error
    finally:
        theirs.close()
    ours.settimeout(timeout or None)
    stream = Stream(ours, path, timeout, process, complaints)
    try:
        _await_ready(stream, process, complaints)
    except BaseException:
        stream.close()
        raise
    return stream


def _await_ready(stream, process, complaints):
    seen = 0
    while seen < LONGEST_GREETING:
        line = _line(stream)
        if line is None:
            status = process.wait()
            complaints.seek(0)
            said = complaints.read().decode("utf-8", "replace").strip()
            raise NoStream(said or "it ended with status %d" % status, status)
        if line == MARK + b"ready":
            return
        if line.startswith(MARK + b"!"):
            raise unreachable(stream.path, int(line[len(MARK) + 1:]))
        seen += len(line) + 1
    raise NoStream("the node's login says too much for programs to talk there")


def _line(stream):
    """Return one line without its end, None at the end of all; byte by byte: what follows belongs to somebody else."""
    line = bytearray()
    while True:
        byte = stream.receive(1)
        if not byte:
            return None
        if byte == b"\n":
            return bytes(line).rstrip(b"\r")
        line += byte
        if len(line) > LONGEST_GREETING:
            return bytes(line)
