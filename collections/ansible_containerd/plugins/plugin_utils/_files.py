# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single files into containers and out of them, of any size, by the agent's own copy."""

from __future__ import annotations

import http.client
import os
import posixpath
import shutil
import tarfile

from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, Request, parse, request

CHUNK = 1 << 18
BLOCK = 512


def place(stream, namespace, container, source, path, owner):
    """Put a file of the controller at a path of a container, for its owner alone. Raises C(AgentError), OSError."""
    with open(source, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        directory, name = posixpath.split(path)
        query = [("path", directory or "/"), ("uid", owner[0]), ("gid", owner[1])]
        _send(stream, request("PUT", namespace, "containers", container, "archive", query=query), name, file, size)
    return stream.answer(b"").result()


def _send(stream, wanted, name, file, size):
    head, tail = _around(name, size)
    asked = Request(wanted.method, wanted.path, wanted.query, b"").encode()
    asked = asked.replace(b"Content-Length: 0", b"Content-Length: %d" % (len(head) + size + len(tail)), 1)
    if not stream.send(asked + head):
        return
    left = size
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise AgentError("%s became shorter while it was sent" % file.name)
        if not stream.send(data):
            return
        left -= len(data)
    stream.send(tail)


def _around(name, size):
    """Return what a tar has before and after the one file in it."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member.tobuf(tarfile.PAX_FORMAT), b"\0" * (-size % BLOCK + 2 * BLOCK)


class _Body:
    """The body of an answer that is a file object, for C(tarfile)."""

    def __init__(self, link):
        self.response = http.client.HTTPResponse(link)
        self.response.begin()
        self.read = self.response.read


def fetch(stream, namespace, container, path, target):
    """Write a file of a container to a file of the controller. Raises C(AgentError), OSError."""
    query = [("path", path), ("follow", "true")]
    wanted = request("GET", namespace, "containers", container, "archive", query=query)
    stream.send(wanted.encode())
    with open(target, "wb") as file:
        if not _unpack(stream, lambda member: shutil.copyfileobj(member, file, CHUNK)):
            raise AgentError("%s is not a file" % path)


def content(stream, namespace, container, path):
    """Return the bytes of a small file of a container. Raises C(AgentError)."""
    query = [("path", path), ("follow", "true")]
    wanted = request("GET", namespace, "containers", container, "archive", query=query)
    stream.send(wanted.encode())
    found = []
    _unpack(stream, lambda member: found.append(member.read(1 << 20)))
    return b"".join(found)


def _unpack(stream, take):
    """Hand the first file of an archive over as it comes; return whether there was one."""
    try:
        body = _Body(stream.socket)
        if body.response.status != 200:
            text = body.read()
            head = "HTTP/1.1 %d -\r\nContent-Type: application/json\r\n\r\n" % body.response.status
            parse(head.encode() + text).result()
        with tarfile.open(fileobj=body, mode="r|") as archive:
            for member in archive:
                if member.isfile():
                    take(archive.extractfile(member))
                    return True
        return False
    except (http.client.HTTPException, tarfile.TarError, ConnectionResetError) as error:
        raise AgentError("The connection to the agent at %s broke while a file was coming: %s" % (stream.path, error or type(error).__name__))
