"""One inotify descriptor for all followers of log files (the kernel allows a user only 128 of them)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import trio
from attrs import define, field

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC  # the same bits as IN_NONBLOCK and IN_CLOEXEC
_MODIFY, _MOVED_TO, _CREATE = 0x2, 0x80, 0x100
_HEADER: Final = struct.Struct("iIII")
_FALLBACK_POLL: Final = 0.1


@define(eq=False)
class Watch:
    """Changes below one directory. Take `version`, look, then wait for a version other than that."""

    directory: str
    descriptor: int
    users: int = 0
    version: int = 0
    _waiting: trio.Event = field(factory=trio.Event, init=False)

    def bump(self) -> None:
        self.version += 1
        self._waiting.set()
        self._waiting = trio.Event()

    async def changed(self, seen: int) -> None:
        """Return once something changed after `seen`; without inotify, after 100 ms at the latest."""
        if self.version != seen:
            await trio.lowlevel.checkpoint()
        elif self.descriptor < 0:
            await trio.sleep(_FALLBACK_POLL)
        else:
            await self._waiting.wait()


class Watcher:
    """The owner of the inotify descriptor; `run` is a task of the runtime's nursery."""

    def __init__(self) -> None:
        self._fd = int(_LIBC.inotify_init1(_FLAGS))
        self._by_directory: dict[str, Watch] = {}
        self._by_descriptor: dict[int, Watch] = {}

    @contextmanager
    def watching(self, directory: str) -> Iterator[Watch]:
        watch = self._by_directory.get(directory)
        if watch is None:
            watch = Watch(directory, self._add(directory))
            self._by_directory[directory] = watch
            self._by_descriptor[watch.descriptor] = watch
        watch.users += 1
        try:
            yield watch
        finally:
            watch.users -= 1
            if watch.users == 0:
                self._drop(watch)

    def _add(self, directory: str) -> int:
        if self._fd < 0:
            return -1
        mask = _MODIFY | _MOVED_TO | _CREATE
        return int(_LIBC.inotify_add_watch(self._fd, os.fsencode(directory), mask))

    def _drop(self, watch: Watch) -> None:
        del self._by_directory[watch.directory]
        if self._by_descriptor.get(watch.descriptor) is watch:
            del self._by_descriptor[watch.descriptor]
        if watch.descriptor >= 0 and self._fd >= 0:
            _LIBC.inotify_rm_watch(self._fd, watch.descriptor)

    async def run(self) -> None:
        """Pass on changes until cancelled."""
        if self._fd < 0:
            return
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            with suppress(BlockingIOError):
                self._dispatch(os.read(self._fd, 65536))

    def _dispatch(self, data: bytes) -> None:
        offset = 0
        touched = set()
        while offset < len(data):
            descriptor, _mask, _cookie, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size + length
            touched.add(descriptor)
        # an overflow (-1) loses events: everybody looks
        hit = self._by_descriptor if -1 in touched else touched & self._by_descriptor.keys()
        for descriptor in list(hit):
            self._by_descriptor[descriptor].bump()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
