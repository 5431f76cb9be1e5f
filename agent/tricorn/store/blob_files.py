"""The files of the content store: blobs by digest, ingests by the hash of their ref. All calls block.

A file under `blobs/` is complete and verified, always: it gets there by rename, after an fsync. The lock
orders that against the sweep; it is held for single system calls only, so the loop may take it too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final

from attrs import frozen

from tricorn.errors import Internal, ResourceExhausted, TricornError
from tricorn.failpoints import failpoint
from tricorn.model.ids import Digest

_ALGORITHMS: Final = ("sha256", "sha384", "sha512")
_NO_SPACE: Final = frozenset({28, 122})  # ENOSPC, EDQUOT


@contextlib.contextmanager
def file_errors(what: str) -> Iterator[None]:
    """Raise what the file system reports inside the block as a typed error that is about `what`."""
    try:
        yield
    except OSError as error:
        raise typed(error, what) from error


def typed(error: OSError, what: str) -> TricornError:
    why = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return ResourceExhausted(
            what, why=why, hint="free space on the file system of the root directory; the transfer resumes"
        )
    return Internal(what, why=why)


@frozen
class Removed:
    """What a sweep removed: digests with their size in bytes, and how many ingest directories."""

    blobs: tuple[tuple[str, int], ...] = ()
    ingests: int = 0


class BlobFiles:
    """`root` is made (0700) with its directories if missing."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._ingests = os.path.join(root, "ingests")
        self._trash = os.path.join(root, "trash")
        self._quarantine = os.path.join(root, "quarantine")
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()  # blob and ingest directories that somebody works on
        self._touched: set[str] = set()  # … since the sweep under way took its snapshot
        algorithms = [os.path.join(root, "blobs", algorithm) for algorithm in _ALGORITHMS]
        for directory in (
            root,
            os.path.join(root, "blobs"),
            *algorithms,
            self._ingests,
            self._trash,
            self._quarantine,
        ):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            os.chmod(directory, 0o700)  # an older installation may have had it wider

    def blob(self, digest: str) -> str:
        """Return the path of a blob; InvalidArgument for anything that isn't a digest."""
        checked = Digest.parse(digest)
        return os.path.join(self.root, "blobs", checked.algorithm, checked.hex)

    def ingest(self, namespace: str, ref: str) -> str:
        """Return the directory of an ingest; the hash keeps a hostile ref from naming another place."""
        name = hashlib.sha256(f"{namespace}\0{ref}".encode()).hexdigest()
        return os.path.join(self._ingests, name)

    @contextlib.contextmanager
    def hold(self, path: str) -> Iterator[None]:
        """Keep a blob or ingest from being swept: within the block, and by the sweep that runs now."""
        with self._lock:
            self._busy[path] += 1
            self._touched.add(path)
        try:
            yield
        finally:
            with self._lock:
                self._busy[path] -= 1
                if not self._busy[path]:
                    del self._busy[path]

    def begin_sweep(self) -> None:
        """To be called before the records are read that `sweep` is told to keep."""
        with self._lock:
            self._touched = set(self._busy)

    def sweep(self, digests: Collection[str], ingests: Collection[str]) -> Removed:
        """Remove all files but those of `digests`, `ingests` (directories), and of whoever came since
        `begin_sweep`: they may have got records that the caller hasn't seen.
        """
        removed = []
        for digest, path in self._blobs():
            if digest not in digests:
                size = os.lstat(path).st_size
                if self._discard(path):
                    removed.append((digest, size))
        count = sum(
            self._discard(entry.path) for entry in _entries(self._ingests) if entry.path not in ingests
        )
        failpoint("content.swept")
        self._empty_trash()
        return Removed(tuple(removed), count)

    def unrecorded(self, digests: Collection[str]) -> tuple[tuple[str, int], ...]:
        """Return the blobs that no record names, with their sizes."""
        return tuple((d, os.lstat(path).st_size) for d, path in self._blobs() if d not in digests)

    def _blobs(self) -> Iterator[tuple[str, str]]:
        for algorithm in _ALGORITHMS:
            for entry in _entries(os.path.join(self.root, "blobs", algorithm)):
                yield f"{algorithm}:{entry.name}", entry.path

    def _discard(self, path: str) -> bool:
        """Move a file out of reach, if it's free; freeing its blocks may take long and needs no lock."""
        with self._lock:
            if path in self._touched:
                return False
            name = path.removeprefix(self.root).strip("/").replace("/", "-")
            os.rename(path, os.path.join(self._trash, f"{name}-{os.urandom(4).hex()}"))
            return True

    def _empty_trash(self) -> None:
        for entry in _entries(self._trash):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)

    def quarantine(self, digest: str, identity: tuple[int, int] | None) -> str:
        """Move a blob's file aside, if it still is the one of this identity (device and inode); return its
        name there, "" if it isn't.
        """
        path, name = self.blob(digest), quarantine_name(digest)
        with self._lock:
            try:
                found = os.lstat(path)
                if identity is None or (found.st_dev, found.st_ino) != identity:
                    return ""
                os.rename(path, os.path.join(self._quarantine, name))
            except FileNotFoundError:
                return ""
        return name

    def quarantined(self) -> list[str]:
        """Return the names of the files in quarantine."""
        return [entry.name for entry in _entries(self._quarantine)]

    def remove_quarantined(self, name: str) -> None:
        """Remove a file from quarantine. One that is gone is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._quarantine, os.path.basename(name)))

    def remove_ingest(self, directory: str) -> None:
        """Remove an ingest that the caller holds. One that is gone is no error."""
        shutil.rmtree(directory, ignore_errors=True)


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return list(entries)


def quarantine_name(digest: str) -> str:
    """Return what the file of a damaged blob is called once it is moved aside."""
    return Digest.parse(digest).replace(":", "-")


def sync_directory(path: str) -> None:
    """Make renames and unlinks in `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
