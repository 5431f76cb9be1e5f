"""Files of this machine as a tar, and a container's tar as files here.

What comes out of a container is hostile: nothing is written through a link that it brought.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import tarfile
import threading
from collections.abc import Iterator
from typing import IO, Any, Final

from tricorn.errors import FailedPrecondition, InvalidArgument

_QUEUED: Final = 8
_PIECE: Final = 256 * 1024


class _Pipe:
    """Lets tarfile, which writes, feed somebody who reads."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED)
        self._stopped = threading.Event()

    def write(self, data: bytes) -> int:
        self._put(bytes(data))
        return len(data)

    def _put(self, piece: bytes | BaseException | None) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._pieces.put(piece, timeout=0.2)
                return
        raise BrokenPipeError

    def run(self, source: str, top: str, *, keep_owner: bool) -> None:
        try:
            with tarfile.open(
                fileobj=self,  # type: ignore[call-overload]
                mode="w|",
                bufsize=_PIECE,
                format=tarfile.PAX_FORMAT,
            ) as archive:
                archive.add(source, top, filter=None if keep_owner else _roots)
            self._put(None)
        except BrokenPipeError:
            pass
        except OSError as error:
            with contextlib.suppress(BrokenPipeError):
                self._put(InvalidArgument(f"{source} can't be read", why=error.strerror or str(error)))

    def pieces(self) -> Iterator[bytes]:
        try:
            while (piece := self._pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            self._stopped.set()


def _roots(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def tar_of(source: str, top: str, *, keep_owner: bool = False) -> Iterator[bytes]:
    """Yield the tar of a file or directory, its names beginning with `top`; InvalidArgument if it can't be
    read.
    """
    if not os.path.lexists(source):
        raise InvalidArgument(f"there is no {source}", field="SOURCE")
    pipe = _Pipe()
    thread = threading.Thread(
        target=pipe.run, args=(source, top), kwargs={"keep_owner": keep_owner}, daemon=True
    )
    thread.start()
    yield from pipe.pieces()
    thread.join()


class _Source:
    """Lets tarfile read what comes in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def extract(pieces: Iterator[bytes], directory: str, name: str, *, keep_owner: bool = False) -> int:
    """Make the files of a tar below `directory`, its top renamed to `name`; return how many. Files that are
    there are replaced. FailedPrecondition where a directory and a file are in each other's way.
    """
    count = 0
    source: Any = _Source(pieces)
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=_PIECE) as archive:
            for member in archive:
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                if ".." in parts:
                    raise InvalidArgument(f"the archive holds the name {member.name[:200]!r}")
                _make(archive, member, directory, [name, *parts[1:]], keep_owner=keep_owner)
                count += 1
    except tarfile.TarError as error:
        raise InvalidArgument("the archive is damaged", why=str(error)) from error
    except OSError as error:
        raise FailedPrecondition(f"{error.filename or directory} can't be written", why=str(error)) from error
    return count


def _make(
    archive: tarfile.TarFile, member: tarfile.TarInfo, directory: str, parts: list[str], *, keep_owner: bool
) -> None:
    parent = directory
    for part in parts[:-1]:
        parent = os.path.join(parent, part)
        if os.path.islink(parent):
            raise InvalidArgument(f"{parent} is a link, through which nothing is written")
    path = os.path.join(parent, parts[-1])
    if member.isdir():
        if os.path.islink(path) or not os.path.isdir(path):
            os.mkdir(path)
        os.chmod(path, member.mode & 0o777 | 0o700)
    else:
        _make_file(archive, member, directory, parts, path)
    if keep_owner and os.geteuid() == 0:
        os.chown(path, member.uid, member.gid, follow_symlinks=False)


def _make_file(
    archive: tarfile.TarFile, member: tarfile.TarInfo, directory: str, parts: list[str], path: str
) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    if member.issym():
        os.symlink(member.linkname, path)
    elif member.islnk():
        link = [part for part in member.linkname.split("/") if part not in ("", ".")]
        if ".." in link:
            raise InvalidArgument(f"the archive holds a link to {member.linkname[:200]!r}")
        os.link(os.path.join(directory, parts[0], *link[1:]), path, follow_symlinks=False)
    elif member.isreg():
        content: IO[bytes] | None = archive.extractfile(member)
        assert content is not None, "a regular member has content"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            shutil.copyfileobj(content, file, _PIECE)
            os.fchmod(file.fileno(), member.mode & 0o777)
        os.utime(path, (member.mtime, member.mtime))
    elif member.isfifo():
        os.mkfifo(path, member.mode & 0o777)
