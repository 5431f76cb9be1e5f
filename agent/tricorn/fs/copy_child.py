"""The child that reads files out of a tree, or puts them into it.

It is locked into the tree like a process of a container: symlinks lead where they lead there. Forked by
`extractor_child`: no trio, attrs or structlog here.
"""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.fs import confine, seccomp
from tricorn.fs.beneath import open_in_root
from tricorn.fs.directories import clean_name
from tricorn.fs.failures import typed
from tricorn.fs.path_facts import digest_of, kind_of
from tricorn.fs.placing import Placer
from tricorn.fs.sending import Sender, handle_of
from tricorn.fs.tarheader import Refusal
from tricorn.fs.tarstream import TarStream
from tricorn.fs.tarwriter import TarWriter

_READER: Final = frozenset({confine.DAC_READ_SEARCH})
_WRITER: Final = frozenset({confine.CHOWN, confine.DAC_OVERRIDE, confine.FOWNER, confine.FSETID})
_READ: Final = 256 * limits.KIB


def answer(request: Mapping[str, Any], root: int, pipe: int, _: int) -> dict[str, Any]:
    """Confine this process to the tree `root`, do what is asked and return the result as a document.

    `pipe` takes the archive or gives it. Raises typed errors.
    """
    path = _clean(request["path"])
    confine.enter_root(root)
    confine.limit_resources()
    confine.forbid_tracing()
    confine.keep_capabilities(_WRITER if request["do"] == "place" else _READER)
    seccomp.install(seccomp.COPY)
    gc.disable()
    try:
        top = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return {"send": _send, "place": _place, "look": _look}[request["do"]](request, top, path, pipe)
    except OSError as error:
        raise typed(error, f"cannot copy {request['path'][:200]}") from error


def _clean(path: str) -> bytes:
    try:
        return clean_name(os.fsencode(path))
    except Refusal as error:
        raise InvalidArgument(f"the path {path[:100]!r} is malformed", why=str(error), field="path") from None


def _send(request: Mapping[str, Any], root: int, path: bytes, pipe: int) -> dict[str, Any]:
    writer = TarWriter(lambda data: _write(pipe, data))
    sender = Sender(root, writer, os.fsencode(request["top"]))
    sender.run(path or b".", follow=request["follow"])
    writer.finish()
    os.close(pipe)
    return {"entries": writer.entries, "warnings": sender.warnings}


def _place(request: Mapping[str, Any], root: int, path: bytes, pipe: int) -> dict[str, Any]:
    placer = Placer(root, path, request["options"])
    stream = TarStream(_chunks(pipe))
    placer.run(stream)
    stream.drain()
    return {
        "entries": stream.entries, "count": placer.count, "changed": placer.changed, "before": placer.before,
        "after": placer.after,
    }  # fmt: skip


def _look(request: Mapping[str, Any], root: int, path: bytes, _: int) -> dict[str, Any]:
    handle = handle_of(root, path or b".", follow=request["follow"])
    status = os.fstat(handle)
    facts = {
        "type": kind_of(status.st_mode), "mode": stat.S_IMODE(status.st_mode), "uid": status.st_uid,
        "gid": status.st_gid, "size": status.st_size if stat.S_ISREG(status.st_mode) else 0,
        "modified": status.st_mtime_ns,
    }  # fmt: skip
    if stat.S_ISLNK(status.st_mode):
        facts["link"] = os.fsdecode(os.readlink(b"", dir_fd=handle))
    elif stat.S_ISREG(status.st_mode) and request["digest"]:
        flags = os.O_RDONLY | os.O_NONBLOCK | (0 if request["follow"] else os.O_NOFOLLOW)
        facts["sha256"] = digest_of(open_in_root(root, path, flags))
    return facts


def _chunks(pipe: int) -> Iterator[bytes]:
    while data := os.read(pipe, _READ):
        yield data


def _write(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]
