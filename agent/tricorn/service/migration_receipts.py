"""What comes from another node in one piece: blobs, rounds of memory, the dump. All of it is bounded."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import trio

from tricorn import limits
from tricorn.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument
from tricorn.failpoints import failpoint
from tricorn.fs.dump_transfer import DumpReceipt
from tricorn.fs.failures import typed
from tricorn.model.checkpoints import PRIVATE
from tricorn.model.ids import Digest
from tricorn.private_directories import make_directory
from tricorn.service.migration_arrival import Arrival
from tricorn.store.content import ContentStore

_LIMITER: Final = trio.CapacityLimiter(2)
_BATCH: Final = 4 * limits.MIB
Receive = Callable[[], Awaitable[bytes]]


async def take_blob(content: ContentStore, arrival: Arrival, expected: Digest, receive: Receive) -> None:
    """Take a blob of the image, or a layer of changed files. DataLoss if it isn't what its name says."""
    known = {blob.digest for blob in arrival.offer.blobs}
    labels = {} if expected in known else {PRIVATE: "true"}
    ref = f"migration-{arrival.offer.id}-{expected.hex[:16]}"
    async with content.writer(arrival.offer.namespace, ref, lease=arrival.lease) as writer:
        if writer.offset:
            await writer.truncate()
        async for batch in _batches(receive, limits.MIGRATION_SIZE):
            arrival.touch()
            await writer.write(batch)
        if writer.digest != expected:
            await writer.discard()
            raise DataLoss(f"{expected} arrived damaged")
        try:
            await writer.commit(expected=expected, labels=labels)
        except AlreadyExists:
            return


async def take_dump(arrival: Arrival, receive: Receive) -> None:
    """Take the dump: files that only root may read, in a directory of this migration's own."""
    if arrival.dumped:
        raise FailedPrecondition("the dump has come already")
    await _take_files(arrival, "dump", receive)
    arrival.dumped = True
    failpoint("arrival.received")


async def take_round(arrival: Arrival, number: int, receive: Receive) -> None:
    """Take a round of memory, the next one. Once one failed none is here any more, and none is taken: the
    dump stands on none then.
    """
    if arrival.dumped or arrival.spoilt or arrival.offer.via:
        raise FailedPrecondition("no rounds of memory are taken any more")
    if number != len(arrival.rounds) + 1 or number > limits.MIGRATION_ROUNDS:
        raise InvalidArgument(f"round {number} of memory", why=f"{len(arrival.rounds)} have come")
    arrival.spoilt = True
    try:
        size = await _take_files(arrival, f"rounds/{number}", receive)
    except BaseException:
        with trio.CancelScope(shield=True):
            remove = partial(shutil.rmtree, f"{arrival.directory}/rounds", ignore_errors=True)
            await trio.to_thread.run_sync(remove, limiter=_LIMITER)
        raise
    arrival.rounds.append(size)
    arrival.spoilt = False
    failpoint("arrival.round")


async def _take_files(arrival: Arrival, name: str, receive: Receive) -> int:
    """Make the files anew that come, in a directory of that name; return their size."""
    path = f"{arrival.directory}/{name}"
    try:
        await trio.to_thread.run_sync(partial(make_directory, path), limiter=_LIMITER)
        receipt = DumpReceipt(path)
        try:
            async for batch in _batches(receive, limits.MIGRATION_SIZE - sum(arrival.rounds)):
                arrival.touch()
                await trio.to_thread.run_sync(receipt.feed, batch, limiter=_LIMITER)
            await trio.to_thread.run_sync(receipt.finish, limiter=_LIMITER)
        finally:
            receipt.close()
    except OSError as error:
        raise typed(error, "what is in the container's memory can't be taken") from error
    return receipt.size


async def _batches(receive: Receive, most: int) -> AsyncIterator[bytearray]:
    """Yield the body in larger pieces."""
    batch, total = bytearray(), 0
    while piece := await receive():
        batch += piece
        total += len(piece)
        if total > most:
            raise InvalidArgument("it is too large", why=f"over {most} bytes")
        if len(batch) >= _BATCH:
            yield batch
            batch = bytearray()
    if batch:
        yield batch
