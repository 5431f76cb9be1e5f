"""One growing ingest file with the hash of what it holds. All calls block; one thread at a time."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from tricorn.errors import FailedPrecondition
from tricorn.failpoints import failpoint
from tricorn.model.ids import Digest
from tricorn.store.blob_files import file_errors, sync_directory

_READ: Final = 4 << 20
_REHASH_STEP: Final = 64 << 20
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class IngestFile:
    """The file `directory/data`: `offset` bytes are on it and in the hash, whatever else fails."""

    def __init__(self, directory: str, ref: str, algorithm: str) -> None:
        self.directory = directory
        self.path = os.path.join(directory, "data")
        self.offset = 0
        self.secret = False  # once it is a blob only root may read it
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        with file_errors("the transfer could not be begun"):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            _write_ref(os.path.join(directory, "ref"), ref)
            self._descriptor = os.open(self.path, _FLAGS, 0o600)

    @property
    def digest(self) -> Digest:
        """Of the bytes so far."""
        return Digest(f"{self._algorithm}:{self._hash.hexdigest()}")

    def rehash(self) -> bool:
        """Take up some of the bytes that an earlier writer left; return whether there are more.

        In steps, so that a cancelled caller isn't kept waiting for gigabytes.
        """
        end = self.offset + _REHASH_STEP
        with file_errors("an earlier transfer could not be read"):
            while self.offset < end:
                data = os.pread(self._descriptor, _READ, self.offset)
                if not data:
                    return False
                self._hash.update(data)
                self.offset += len(data)
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append; on a full disk what fitted is kept (and counted), and ResourceExhausted raised."""
        with memoryview(data).cast("B") as view, file_errors("the transfer could not be stored"):
            done = 0
            while done < len(view):
                count = os.pwrite(self._descriptor, view[done:], self.offset)
                self._hash.update(view[done : done + count])
                self.offset += count
                done += count

    def append_from(self, path: str, offset: int, count: int) -> int:
        """Append up to `count` bytes of another file from `offset`; return how many there were."""
        with file_errors("the blob could not be copied"), open(path, "rb") as source:
            data = os.pread(source.fileno(), count, offset)
        self.write(data)
        return len(data)

    def truncate(self) -> None:
        with file_errors("the transfer could not be begun anew"):
            os.ftruncate(self._descriptor, 0)
        self.offset = 0
        self._hash = hashlib.new(self._algorithm)

    def sync_and_verify(self, size: int | None, expected: Digest | None) -> Digest:
        """fsync, then check size, then digest; FailedPrecondition leaves the bytes as they are."""
        with file_errors("the blob could not be stored"):
            os.fsync(self._descriptor)
            actual = os.fstat(self._descriptor).st_size
        failpoint("content.synced")
        if actual != self.offset or (size is not None and actual != size):
            wanted = self.offset if size is None else size
            raise FailedPrecondition(
                "the blob has the wrong size", why=f"{actual} bytes, expected {wanted}",
                hint="write the rest, or truncate and begin anew", field="size",
            )  # fmt: skip
        digest = self._digest(expected.algorithm if expected else self._algorithm)
        if expected is not None and digest != expected:
            raise FailedPrecondition(
                f"the blob isn't {expected}", why=f"its digest is {digest}",
                hint="truncate and begin anew: the bytes are not those that were asked for", field="digest",
            )  # fmt: skip
        failpoint("content.verified")
        return digest

    def _digest(self, algorithm: str) -> Digest:
        if algorithm == self._algorithm:
            return self.digest
        with file_errors("the blob could not be read"), open(self.path, "rb") as file:
            return Digest(f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}")

    def move(self, target: str) -> None:
        """Put the verified file at `target`, which the caller holds. One that is there is replaced: this
        one was read to its end a moment ago, of that one nobody knows what became of it.
        """
        with file_errors("the blob could not be stored"):
            os.fchmod(self._descriptor, 0o400 if self.secret else 0o444)
            os.rename(self.path, target)
            failpoint("content.renamed")
            sync_directory(os.path.dirname(target))
        failpoint("content.durable")

    def close(self) -> None:
        os.close(self._descriptor)


def _write_ref(path: str, ref: str) -> None:
    """Leave the ref beside the data: for people, whose tools see hashes only."""
    descriptor = os.open(path, _FLAGS | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, ref.encode())
    finally:
        os.close(descriptor)
