"""Checkpoints: the client's calls and methods."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager

from tricorn.client.checkpoint_calls import checkpoint_container, import_checkpoint, restore_checkpoint
from tricorn.client.nouns import Noun
from tricorn.client.stream import Work, open_work
from tricorn.client.values import plain, value
from tricorn.model.checkpoints import CheckpointRequest, CheckpointView, ImportedCheckpoint, RestoreRequest
from tricorn.model.requests import ContainerView


class Checkpoints(Noun):
    """`make` and `restore` raise FailedPrecondition with CRIU's words and the remedy, Unimplemented where
    nothing can be dumped.
    """

    async def make(self, container: str, wanted: CheckpointRequest) -> CheckpointView:
        """Make an image of a running container."""
        return value(
            await self._pool.call(checkpoint_container(self._ns, container, plain(wanted))), CheckpointView
        )

    def make_work(
        self, container: str, wanted: CheckpointRequest
    ) -> AbstractAsyncContextManager[Work[CheckpointView]]:
        """Like `make`, with the progress to iterate over."""
        call = checkpoint_container(self._ns, container, plain(wanted), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, CheckpointView))

    async def load(
        self, archive: AsyncIterable[bytes], *, image: str = "", base: str = "", whole: bool = True
    ) -> ImportedCheckpoint:
        """Make an image of a checkpoint archive of Podman's or CRI's, whose bytes are given."""
        call = import_checkpoint(self._ns, image=image, base=base, whole=whole)
        return value(await self._pool.upload(call, archive), ImportedCheckpoint)

    async def restore(self, wanted: RestoreRequest) -> ContainerView:
        """Make a container of a checkpoint and let it go on."""
        return value(await self._pool.call(restore_checkpoint(self._ns, plain(wanted))), ContainerView)
