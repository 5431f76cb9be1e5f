"""Keeps the code of attrs' classes from one start of the agent to the next, as Python keeps that of modules.

attrs writes the source of each class's methods and has it compiled, at every start anew: that was half of an
agent's start. Between `start` and `finish` it gets what the compiler said the last time, from a file in
`__pycache__`. Each piece is known by its source, so that an old file is never wrong, only of less use. Like
Python's own, the file belongs to one version of Python, is written where the directory lets itself be written
to, and isn't where PYTHONDONTWRITEBYTECODE forbids it. Should attrs one day not ask here, nothing is gained
and nothing is lost.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import marshal
import os
import re
import sys
import zlib
from collections.abc import Mapping
from hashlib import blake2b
from types import CodeType
from typing import Any, Final

_SEAM: Final = "attr._make"  # calls `compile`, which is looked up among its own names first
_HEAD: Final = len(importlib.util.MAGIC_NUMBER) + 4  # and a checksum
_SALT: Final = re.compile(r"(hash\(\(\s*)-?[0-9]+")  # another one in each process, for the same class


class ClassCode:
    """Compiled pieces by what they were made of. For one thread."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._kept = _read(path) if path else {}
        self._asked: dict[bytes, bytes] = {}
        self.compiled = 0

    def compile(self, source: str, filename: str, mode: str) -> CodeType:
        """Return what `builtins.compile` would; the salt of a hash may be that of an earlier process."""
        unsalted = _SALT.sub(r"\g<1>0", source)
        key = blake2b(f"{mode}\0{filename}\0{unsalted}".encode(), digest_size=16).digest()
        kept = self._kept.get(key)
        if kept is None:
            self.compiled += 1
            code: CodeType = compile(source, filename, mode)
            self._asked[key] = marshal.dumps(code)
            return code
        self._asked[key] = kept
        found: CodeType = marshal.loads(kept)  # noqa: S302 - from beside the modules' own, which Python loads so
        return found

    def save(self) -> None:
        """Write what was asked for, and no more, if any of it had to be compiled and files may be written."""
        if self._path is None or not self.compiled or sys.dont_write_bytecode:
            return
        with contextlib.suppress(OSError):
            _write(self._path, self._asked)


def kept_at() -> str | None:
    """Return the file's path, in the directory where Python keeps this module; None if it keeps none."""
    try:
        module = importlib.util.cache_from_source(__file__)
    except NotImplementedError:
        return None
    return module.removesuffix(".pyc") + ".attrs"


def start() -> None:
    """Have attrs ask here from now on. Nothing happens if it does already."""
    seam = importlib.import_module(_SEAM)
    if not hasattr(seam, "compile"):
        seam.compile = ClassCode(kept_at()).compile  # type: ignore[attr-defined]  # hides the built-in one


def finish() -> None:
    """Have attrs compile by itself again, keep what is new, drop the rest. May be called without `start`."""
    seam: Any = importlib.import_module(_SEAM)
    if hasattr(seam, "compile"):
        code: ClassCode = seam.compile.__self__
        del seam.compile
        code.save()


def _read(path: str) -> Mapping[bytes, bytes]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return {}
    body = memoryview(data)[_HEAD:]
    if data[:_HEAD] != _head(body):
        return {}
    pieces: dict[bytes, bytes] = marshal.loads(body)  # noqa: S302 - as above; the checksum tells of damage
    return pieces


def _write(path: str, pieces: Mapping[bytes, bytes]) -> None:
    """Replace the file at once: others that start right now read the old one or the new one."""
    body = marshal.dumps(dict(pieces))
    made = f"{path}.{os.getpid()}"
    try:
        with open(made, "xb") as file:
            file.write(_head(body) + body)
        os.replace(made, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(made)
        raise


def _head(body: bytes | memoryview) -> bytes:
    return importlib.util.MAGIC_NUMBER + zlib.crc32(body).to_bytes(4, "little")
