"""A client's side of a process's stdio: FIFOs as containerd's clients make them.

with fifos(directory) as client:            # makes stdin, stdout, stderr
    ref = evolve(ref, stdio=client.stdio)
    client.write(b"…"); await client.read_until(b"…"); client.close_stdin()
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import trio

from tricorn.model.stdio import Stdio

PATIENCE = 30.0


class Fifos:
    """Three FIFOs and the ends of them that a client has open."""

    def __init__(self, directory: Path, *, terminal: bool = False) -> None:
        self.directory = directory / f"f{uuid4().hex[:8]}"
        self.directory.mkdir()
        self.terminal = terminal
        self.names = ("stdin", "stdout") if terminal else ("stdin", "stdout", "stderr")
        for name in self.names:
            os.mkfifo(self.path(name), 0o700)
        self._ends: dict[str, int] = {}

    def path(self, name: str) -> str:
        return str(self.directory / name)

    @property
    def stdio(self) -> Stdio:
        return Stdio(**{name: self.path(name) for name in self.names}, terminal=self.terminal)

    def open(self, *names: str) -> None:
        """Open these ends (all but stdin if none is named), as `ctr attach` does once more."""
        for name in names or self.names[1:]:
            flags = os.O_WRONLY if name == "stdin" else os.O_RDONLY
            self._ends[name] = os.open(self.path(name), flags | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self, *names: str) -> None:
        for name in names or tuple(self._ends):
            os.close(self._ends.pop(name))

    async def write(self, data: bytes) -> None:
        if "stdin" not in self._ends:
            self.open("stdin")
        view = memoryview(data)
        with trio.fail_after(PATIENCE):
            while view:
                try:
                    view = view[os.write(self._ends["stdin"], view) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._ends["stdin"])

    async def read(self, name: str = "stdout", size: int = 65536) -> bytes:
        """Return the next bytes, b"" at the end."""
        while True:
            with trio.fail_after(PATIENCE):
                await trio.lowlevel.wait_readable(self._ends[name])
            try:
                return os.read(self._ends[name], size)
            except BlockingIOError:
                continue

    async def read_until(self, wanted: bytes, name: str = "stdout") -> bytes:
        found = b""
        while wanted not in found:
            data = await self.read(name)
            assert data, f"{name} ended after {found!r}"
            found += data
        return found

    async def read_all(self, name: str = "stdout") -> bytes:
        found = bytearray()
        while data := await self.read(name):
            found += data
        return bytes(found)


@contextmanager
def fifos(directory: Path, *, terminal: bool = False) -> Iterator[Fifos]:
    client = Fifos(directory, terminal=terminal)
    try:
        yield client
    finally:
        client.close()
