"""Archives of images as files of the node, as desired states: there with these images, or brought in."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO, Final, TypeVar
from uuid import uuid4

import trio
from attrs import define

from tricorn import limits
from tricorn.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TricornError,
)
from tricorn.model.ids import Digest
from tricorn.model.oci import Platform
from tricorn.model.requests import Action, ArchiveExport, ArchiveImport, Change
from tricorn.rules import platforms
from tricorn.service.archive_peek import Named, open_regular, peek
from tricorn.service.archive_writer import ExportRequest, Plan, tail
from tricorn.service.catalog import Catalog
from tricorn.service.progress import Reporter
from tricorn.service.transfer import TransferService
from tricorn.store.db import Database

T = TypeVar("T")
_limiter: Final = trio.CapacityLimiter(limits.ARCHIVE_IMPORTS)  # reads and writes at a time
_MODE: Final = 0o600  # an image may hold secrets
_ERRORS: Final[Mapping[int, type[TricornError]]] = {
    errno.ENOENT: NotFound,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.ENOSPC: ResourceExhausted,
    errno.EDQUOT: ResourceExhausted,
}


class ArchiveFiles:
    """`machine` is the platform that archives hold when a request names none."""

    def __init__(self, db: Database, catalog: Catalog, transfer: TransferService, machine: Platform) -> None:
        self._db = db
        self._catalog = catalog
        self._transfer = transfer
        self._machine = machine

    async def exported(
        self, namespace: str, wanted: ArchiveExport, *, plan: bool = False, report: Reporter | None = None
    ) -> Change:
        """Make sure that a file is the archive of these images as they are now; it appears whole or not.

        Raises NotFound for images, content and the file's directory, ResourceExhausted when the disk is full.
        """
        path = checked_path(wanted.path)
        archive = await self._transfer.plan_archive(
            namespace, wanted.images, wanted.platform, all_platforms=wanted.all_platforms
        )
        end = tail(archive)
        before = await _in_thread(lambda: _described(path, len(end)))
        after = {"path": path, "size": archive.size, "index": index_digest(end)}
        if before == after:
            return Change(changed=False, before=before, after=before)
        if not plan:
            await self._write(path, archive, report or Reporter())
        reason = "it holds something else" if before else "no such file"
        return Change(
            changed=True, actions=(Action("export", f"file/{path}", reason),), before=before, after=after
        )

    async def _write(self, path: str, plan: Plan, reporter: Reporter) -> None:
        file = _Partial(path)
        try:
            await _in_thread(file.open)
            await self._transfer.exporter.write(plan, file.write, reporter)
            await _in_thread(file.keep)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                await _in_thread(file.drop)

    async def imported(
        self, namespace: str, wanted: ArchiveImport, *, plan: bool = False, report: Reporter | None = None
    ) -> Change:
        """Make sure that the images of an archive are here as it holds them. Raises as an import."""
        path = checked_path(wanted.path)
        store = self._transfer.archive_store(
            wanted.base_name, wanted.platform, all_platforms=wanted.all_platforms, unpack=wanted.unpack
        )
        named = await _in_thread(lambda: peek(path, store))
        before = await self._digests(namespace, [each.name for each in named])
        missing = [each for each in named if not await self._is_here(namespace, each, wanted)]
        if named and not missing:
            return Change(changed=False, before={"images": before}, after={"images": before})
        after = before | {each.name: str(each.digest) for each in missing if not each.of_config}
        if not plan:
            after = await self._load(namespace, path, wanted, report or Reporter())
        actions = tuple(Action("import", f"image/{each.name}", "not as in the archive") for each in missing)
        return Change(changed=True, actions=actions, before={"images": before}, after={"images": after})

    async def _digests(self, namespace: str, names: Sequence[str]) -> dict[str, str]:
        found = await self._db.read(lambda tx: [tx.images.find(namespace, name) for name in names])
        return {image.name: str(image.target.digest) for image in found if image}

    async def _is_here(self, namespace: str, named: Named, wanted: ArchiveImport) -> bool:
        image = await self._db.read(lambda tx: tx.images.find(namespace, named.name))
        if image is None or not (named.of_config or image.target.digest == named.digest):
            return False
        platform = platforms.parse(wanted.platform, self._machine)
        try:
            if wanted.all_platforms:
                await self._transfer.plan_export(ExportRequest(namespace, [image], all_platforms=True))
            found = await self._catalog.resolve(namespace, image, platform)
        except TricornError:
            return False
        same = not named.of_config or found.manifest.config.digest == named.digest
        return same and not found.missing and (found.unpacked or not wanted.unpack)

    async def _load(
        self, namespace: str, path: str, wanted: ArchiveImport, reporter: Reporter
    ) -> dict[str, str]:
        file = _Source(path)
        try:
            reporter.expected = await _in_thread(file.open)
            result = await self._transfer.load_archive(
                namespace, file.receive, base_name=wanted.base_name, platform=wanted.platform,
                all_platforms=wanted.all_platforms, unpack=wanted.unpack, compress=wanted.compress,
                reporter=reporter,
            )  # fmt: skip
        finally:
            file.close()
        return {each.name: each.digest for each in result.images}


def checked_path(path: str) -> str:
    """Return a file's path in its plain form; InvalidArgument for one that depends on where we are."""
    if not path.startswith("/") or "\0" in path or len(path) >= limits.TAR_PATH_LENGTH:
        raise InvalidArgument(f"{path[:100]!r} is no absolute path", field="path")
    return os.path.normpath(path)


def index_digest(end: bytes) -> str:
    """Return what tells one archive of ours from another: the digest of all that follows its blobs."""
    return str(Digest.of(end))


def _described(path: str, length: int) -> dict[str, object]:
    """Return the size of a file and the digest of its last `length` bytes; empty when there is none."""
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            end = os.pread(file.fileno(), length, max(0, status.st_size - length))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return {}
        raise _failure(path, error) from None
    return {"path": path, "size": status.st_size, "index": index_digest(end)}


def _failure(path: str, error: OSError) -> TricornError:
    made = _ERRORS.get(error.errno or 0, FailedPrecondition)
    return made(f"{path} can't be read or written", why=error.strerror or "", field="path")


async def _in_thread(work: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(work, limiter=_limiter)


@define
class _Partial:
    """A file in the making, beside the one it is to replace."""

    _path: str
    _partial: str = ""
    _descriptor: int = -1

    def open(self) -> None:
        directory, name = os.path.split(self._path)
        self._partial = os.path.join(directory, f".{name[:200]}.{uuid4().hex[:12]}.partial")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._trying(lambda: setattr(self, "_descriptor", os.open(self._partial, flags, _MODE)))

    async def write(self, data: bytes | memoryview) -> None:
        await _in_thread(lambda: self._trying(lambda: _write_all(self._descriptor, data)))

    def keep(self) -> None:
        """The file is whole: it takes its name, which a loss of power doesn't undo."""
        self._trying(lambda: os.fsync(self._descriptor))
        self._trying(lambda: os.rename(self._partial, self._path))
        self._partial = ""
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def drop(self) -> None:
        """Leave nothing half-written behind."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if self._partial:
                with suppress(OSError):
                    os.unlink(self._partial)

    def _trying(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            raise _failure(self._path, error) from None


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@define
class _Source:
    """A file whose bytes an import receives."""

    _path: str
    _file: BinaryIO | None = None

    def open(self) -> int:
        """Return its size."""
        try:
            self._file = open_regular(self._path)
            return os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise _failure(self._path, error) from None

    async def receive(self) -> bytes:
        return await _in_thread(self._read)

    def _read(self) -> bytes:
        assert self._file is not None
        return self._file.read(limits.TRANSFER_BUFFER)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
