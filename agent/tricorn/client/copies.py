"""Files in containers: the client's calls and methods."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager

from tricorn.client import copy_calls as calls
from tricorn.client.nouns import Noun
from tricorn.client.stream import open_bytes
from tricorn.client.values import plain, value
from tricorn.model.copies import FileDesired, NodeCopy, PathView, Placing
from tricorn.model.requests import Change


class Files(Noun):
    """All raise NotFound for the container and the path, and FailedPrecondition where a file can't be had."""

    async def look(
        self, container: str, path: str, *, follow: bool = False, digest: bool = False
    ) -> PathView:
        """Return what is at a path."""
        call = calls.look_at_file(self._ns, container, path, follow=follow, digest=digest)
        return value(await self._pool.call(call), PathView)

    async def put(self, container: str, wanted: FileDesired, *, plan: bool = False) -> Change:
        """Make sure that a file has this content, or that a directory is there."""
        return value(
            await self._pool.call(calls.put_file(self._ns, container, plain(wanted), plan=plan)), Change
        )

    async def copy(self, container: str, wanted: NodeCopy, *, plan: bool = False) -> Change:
        """Make sure that a path of the node and one in the container are the same."""
        return value(
            await self._pool.call(calls.put_copy(self._ns, container, plain(wanted), plan=plan)), Change
        )

    def read(
        self, container: str, path: str, *, follow: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give the bytes of a tar of a file, or of a directory with all in it, chunk by chunk."""
        return open_bytes(self._pool, calls.get_archive(self._ns, container, path, follow=follow))

    async def write(
        self, container: str, path: str, archive: AsyncIterable[bytes], placing: Placing | None = None
    ) -> Change:
        """Put the members of a tar, whose bytes are given, in place below the directory `path`."""
        wanted = placing or Placing()
        call = calls.put_archive(
            self._ns, container, path, uid=wanted.uid, gid=wanted.gid, mode=wanted.mode,
            directory_mode=wanted.directory_mode, parents=wanted.parents, plan=wanted.plan,
        )  # fmt: skip
        return value(await self._pool.upload(call, archive), Change)
