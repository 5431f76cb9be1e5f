"""A dump on its way to another node: its files one after the other, behind a list of their names and sizes.

It never goes through the content store on either side: what processes had in memory is in private directories
only, for as long as it takes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted

_LIMITER: Final = trio.CapacityLimiter(2)
_PIECE: Final = 4 * limits.MIB
_LENGTH: Final = 8  # bytes that tell how long the list is
_LIST: Final = 16 * limits.MIB
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


class DumpUpload:
    """Implements `registry.connection.Upload` for the files of the dump in `directory`. `sent` hears of
    each piece. CRIU's link to the dump before stays behind: who receives them makes its own.
    """

    def __init__(self, directory: str, sent: Callable[[int], None]) -> None:
        self._directory = directory
        self._sent = sent
        self._files = [
            (entry.name, entry.stat(follow_symlinks=False).st_size)
            for entry in os.scandir(directory)
            if not entry.is_symlink()
        ]
        listed = json.dumps(self._files, separators=(",", ":")).encode()
        self._head = len(listed).to_bytes(_LENGTH, "big") + listed

    @property
    def length(self) -> int:
        return len(self._head) + sum(size for _, size in self._files)

    async def write_to(self, send: Callable[[memoryview], Awaitable[None]]) -> None:
        await send(memoryview(self._head))
        for name, size in self._files:
            await send_file(os.path.join(self._directory, name), size, send, self._sent)


class FileUpload:
    """Implements `registry.connection.Upload` for one file, whose first `length` bytes it sends."""

    def __init__(self, path: str, length: int, sent: Callable[[int], None]) -> None:
        self._path = path
        self._length = length
        self._sent = sent

    @property
    def length(self) -> int:
        return self._length

    async def write_to(self, send: Callable[[memoryview], Awaitable[None]]) -> None:
        await send_file(self._path, self._length, send, self._sent)


async def send_file(
    path: str, size: int, send: Callable[[memoryview], Awaitable[None]], sent: Callable[[int], None]
) -> None:
    """Send exactly `size` bytes of a file; InvalidArgument if it has become shorter."""
    buffer = memoryview(bytearray(min(size, _PIECE) or 1))
    with open(path, "rb", buffering=0) as file:  # noqa: ASYNC230 - nothing of it is read here
        while size:
            read: Any = await trio.to_thread.run_sync(file.readinto, buffer[:size], limiter=_LIMITER)
            if not read:
                raise InvalidArgument(f"{os.path.basename(path)} has become shorter")
            await send(buffer[:read])
            sent(read)
            size -= read


class DumpReceipt:
    """Takes the bytes of a `DumpUpload` and makes the files anew in an empty directory, for root alone.

    InvalidArgument for names and sizes that no dump has, ResourceExhausted for too many.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._head = bytearray()
        self._waiting: list[tuple[str, int]] | None = None
        self._fd = -1
        self._left = 0
        self.size = 0

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next bytes. Blocks."""
        view = memoryview(data)
        self.size += len(view)
        if self._waiting is None:
            view = self._take_head(view)
        while view:
            if not self._left and not self._open_next():
                raise InvalidArgument("the dump is longer than it was told")
            count = os.write(self._fd, view[: self._left])
            self._left -= count
            view = view[count:]

    def finish(self) -> None:
        """Check that all files are whole. Blocks."""
        if self._waiting is None or self._left:
            raise InvalidArgument("the dump ends too early")
        while self._open_next():
            if self._left:
                raise InvalidArgument("the dump ends too early")
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take_head(self, view: memoryview) -> memoryview:
        self._head += view
        if len(self._head) < _LENGTH:
            return view[:0]
        end = _LENGTH + int.from_bytes(self._head[:_LENGTH], "big")
        if end > _LIST:
            raise ResourceExhausted("the dump's list of files is too long", why=f"over {_LIST} bytes")
        if len(self._head) < end:
            return view[:0]
        self._waiting = _checked(bytes(self._head[_LENGTH:end]))
        rest = memoryview(bytes(self._head[end:]))
        self._head.clear()
        return rest

    def _open_next(self) -> bool:
        self.close()
        if not self._waiting:
            return False
        name, self._left = self._waiting.pop(0)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(os.path.join(self._directory, name), flags, 0o600)
        return True


def _checked(data: bytes) -> list[tuple[str, int]]:
    try:
        files = [(str(name), size) for name, size in json.loads(data)]
    except (ValueError, TypeError):
        raise InvalidArgument("the dump's list of files is malformed") from None
    if len(files) > limits.DUMP_FILES:
        raise ResourceExhausted("the dump has too many files", why=f"over {limits.DUMP_FILES}")
    if len({name for name, _ in files}) != len(files):
        raise InvalidArgument("the dump's list of files is malformed", why="a name is there twice")
    for name, size in files:
        if not _NAME.fullmatch(name) or type(size) is not int or not 0 <= size <= limits.MIGRATION_SIZE:
            raise InvalidArgument("the dump's list of files is malformed", why=repr(name[:80]))
    return files
