"""Container logs: the monitor's k8s-file format, read over rotations, and the rotation itself.

A record is `TIME STREAM F|P TEXT`; P marks a part of a line. The files are LOG, LOG.1, LOG.2 and so on,
newest first. Rotation renames LOG and has the monitor open a new one: nothing is lost, and a follower goes
on reading the renamed file until the new one exists.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Final, Literal

import trio
from attrs import define, frozen

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.requests import LogLine
from tricorn.runtime.tail import tail_position
from tricorn.runtime.watch import Watch

_BLOCK: Final = 256 * limits.KIB
_LINE_SIZE: Final = 1 * limits.MIB  # a longer line is given out in parts
_READ_LIMITER: Final = trio.CapacityLimiter(4)
Stream = Literal["stdout", "stderr"]


@frozen
class Record:
    timestamp: str
    stream: Stream
    whole: bool  # the line ends here
    text: bytes

    def raw(self) -> bytes:
        """Return the bytes that the process wrote."""
        return self.text + b"\n" if self.whole else self.text


def parse_record(line: bytes) -> Record | None:
    """Return the record of one line of the file, None for a damaged one."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[2] not in {b"F", b"P"}:
        return None
    stream: Stream = "stderr" if parts[1] == b"stderr" else "stdout"
    text = parts[3] if len(parts) == 4 else b""
    return Record(parts[0].decode("ascii", "replace"), stream, parts[2] == b"F", text)


def names(path: str) -> list[str]:
    """Return the log's files that exist, newest first."""
    found = [path] if os.path.exists(path) else []
    number = 1
    # the newest may be missing for a moment, while the monitor opens it
    while os.path.exists(f"{path}.{number}"):
        found.append(f"{path}.{number}")
        number += 1
    return found


@define(eq=False)
class _Segment:
    fd: int
    inode: int
    rest: bytes = b""

    @classmethod
    def open(cls, path: str) -> _Segment | None:
        """Open a regular file; a symlink in its place is not followed."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        return cls(fd, os.fstat(fd).st_ino)

    def more(self) -> int:
        return os.fstat(self.fd).st_size - os.lseek(self.fd, 0, os.SEEK_CUR)

    async def read(self) -> list[bytes]:
        """Return the next whole lines, [] at the end of the file."""
        size = self.more()
        if size <= 0:
            return []
        if size > limits.TRANSFER_BUFFER // 16:  # old data may have to come from the disk
            data = await trio.to_thread.run_sync(os.read, self.fd, _BLOCK, limiter=_READ_LIMITER)
        else:
            data = os.read(self.fd, _BLOCK)
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        return lines or [b""]

    def close(self) -> None:
        os.close(self.fd)


class LogReader:
    """Reads a log's records from a place on, over rotations."""

    def __init__(self, path: str, segments: list[_Segment]) -> None:
        self._path = path
        self._segments = segments  # oldest first; the last is where to follow

    @classmethod
    def open(cls, path: str, *, at_end: bool = False) -> LogReader:
        """Open what exists (perhaps nothing). `at_end`: only what is written from now on."""
        seen: set[int] = set()
        opened: list[_Segment] = []
        for name in names(path)[: 1 if at_end else None]:
            segment = _Segment.open(name)
            if segment and segment.inode not in seen:
                seen.add(segment.inode)
                opened.append(segment)
            elif segment:
                segment.close()
        opened.reverse()
        if at_end and opened:
            os.lseek(opened[0].fd, 0, os.SEEK_END)
        return cls(path, opened)

    async def skip_to_tail(self, lines: int, early_enough: Callable[[str], bool] | None = None) -> None:
        """Go on with the last `lines` lines of what is there now, as far as they are `early_enough`."""
        if not self._segments:
            return
        fds = [segment.fd for segment in self._segments]
        index, offset = await trio.to_thread.run_sync(
            tail_position, fds, lines, early_enough, limiter=_READ_LIMITER
        )
        for segment in self._segments[:index]:
            segment.close()
        del self._segments[:index]
        os.lseek(self._segments[0].fd, offset, os.SEEK_SET)

    async def batch(self) -> list[Record]:
        """Return the next records, [] when there are no more for now."""
        while True:
            if not self._segments and not self._advance():
                return []
            lines = await self._segments[0].read()
            records = [record for line in lines if (record := parse_record(line))]
            if records:
                return records
            if not lines and not self._advance():
                return []

    def _advance(self) -> bool:
        """Go to the next newer file, if there is one and this one is read to its end."""
        if not self._segments:
            found = self._oldest()
            self._segments += [found] if found else []
            return bool(found)
        if len(self._segments) == 1:
            newer = self._successor(self._segments[0].inode)
            if newer is None:
                return False
            # the monitor had let go of the old file when the newer one appeared: what is in it is all
            self._segments.append(newer)
        if self._segments[0].more() > 0:
            return True
        self._segments.pop(0).close()
        return True

    def _oldest(self) -> _Segment | None:
        existing = names(self._path)
        return _Segment.open(existing[-1]) if existing else None

    def _successor(self, inode: int) -> _Segment | None:
        newer: _Segment | None = None
        for name in names(self._path):
            segment = _Segment.open(name)
            if segment is None:
                continue
            if segment.inode == inode:
                segment.close()
                return newer
            if newer:
                newer.close()
            newer = segment
        return newer  # this file was dropped long ago: go on with the oldest there is

    def close(self) -> None:
        for segment in self._segments:
            segment.close()
        self._segments.clear()


class LineJoiner:
    """Joins partial records to lines, stream by stream."""

    def __init__(self) -> None:
        self._open: dict[Stream, tuple[str, bytearray]] = {}

    def feed(self, record: Record) -> LogLine | None:
        timestamp, text = self._open.pop(record.stream, (record.timestamp, bytearray()))
        text += record.text
        if not record.whole and len(text) < _LINE_SIZE:
            self._open[record.stream] = (timestamp, text)
            return None
        return LogLine(timestamp, record.stream, text.decode("utf-8", "replace"))

    def flush(self) -> list[LogLine]:
        left = [
            LogLine(at, stream, text.decode("utf-8", "replace")) for stream, (at, text) in self._open.items()
        ]
        self._open.clear()
        return left


class Follower:
    """Reads on until `ended()` and all is read; `wait_change(version)` waits for more or the end. At
    `deadline` (of Trio's clock) it counts as ended, too.
    """

    def __init__(
        self,
        reader: LogReader,
        watch: Watch,
        ended: Callable[[], bool],
        wait_change: Callable[[int], Awaitable[None]],
        deadline: float = float("inf"),
    ) -> None:
        self._deadline = deadline
        self._reader = reader
        self._watch = watch
        self._ended = ended
        self._wait_change = wait_change

    async def batch(self) -> list[Record]:
        """Return the next records, [] at the end."""
        while True:
            version = self._watch.version
            over = self._ended() or trio.current_time() >= self._deadline
            records = await self._reader.batch()
            if records or over:
                return records
            with trio.move_on_at(self._deadline):
                await self._wait_change(version)


def after(since: datetime | None) -> Callable[[LogLine], bool]:
    """Return a test whether a line is from `since` or later."""
    if since is None:
        return lambda _line: True
    _check_zone(since, "since")

    def late_enough(line: LogLine) -> bool:
        with suppress(ValueError):
            return datetime.fromisoformat(line.timestamp) >= since
        return True

    return late_enough


def until(last: datetime) -> Callable[[str], bool]:
    """Return a test whether a record's time is `last` or earlier; what is no time counts as early."""
    _check_zone(last, "until")

    def early_enough(timestamp: str) -> bool:
        with suppress(ValueError):
            return datetime.fromisoformat(timestamp) <= last
        return True

    return early_enough


def _check_zone(moment: datetime, field: str) -> None:
    if moment.tzinfo is None:
        raise InvalidArgument("the time has no zone", hint="give it as 2026-01-31T12:00:00Z", field=field)


def rotate(path: str, keep: int) -> None:
    """Rename LOG to LOG.1, LOG.1 to LOG.2 and so on; at most `keep` files are left with the new LOG."""
    existing = names(path)
    for number in range(len(existing) - 1, -1, -1):
        if number + 1 >= keep:
            with suppress(FileNotFoundError):
                os.unlink(existing[number])
        else:
            os.rename(existing[number], f"{path}.{number + 1}")


def touch(path: str) -> None:
    """Make an empty log if there is none."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
