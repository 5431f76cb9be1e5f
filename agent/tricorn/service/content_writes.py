"""One client's transfer into the content store, request by request, as containerd's Write has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum

from attrs import Factory, field, frozen

from tricorn.errors import AlreadyExists, InvalidArgument, OutOfRange
from tricorn.model.ids import Digest
from tricorn.store.content_session import IngestSession
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction


class WriteAction(IntEnum):
    """The numbers are containerd's."""

    STAT = 0
    WRITE = 1
    COMMIT = 2


@frozen
class WriteRequest:
    """`total` of 0 or less and an empty `expected` leave what earlier requests said."""

    action: WriteAction
    offset: int = 0
    data: bytes = field(default=b"", repr=False)
    total: int = 0
    expected: str = ""
    labels: Mapping[str, str] = Factory(dict)


@frozen
class WriteState:
    """What a transfer has come to; `total` is 0 while unknown, `digest` that of the bytes so far."""

    action: WriteAction
    offset: int
    total: int
    digest: Digest
    started_at: datetime
    updated_at: datetime


class Writing:
    """Made by `BlobService.writing`; one request at a time. Bytes are hashed and written off the loop."""

    def __init__(
        self, db: Database, namespace: str, lease: str, session: IngestSession, expected: Digest | None
    ) -> None:
        self._db = db
        self._namespace = namespace
        self._lease = lease
        self._session = session
        self._expected = expected
        self._total = session.total
        self._updated_at = self._db.clock.now()

    async def apply(self, request: WriteRequest) -> WriteState:
        """Do what one request asks.

        A write at offset 0 begins anew, one at any other offset than the current is OutOfRange. A commit
        checks the last total and digest that were given (FailedPrecondition; the bytes stay), and ends the
        transfer. AlreadyExists as soon as the namespace is known to have the blob: the lease gets it, and
        the transfer's bytes are dropped.
        """
        if request.expected:
            await self._expect(Digest.parse(request.expected, "expected"))
        if request.total > 0:
            self._total = request.total
        if request.action is WriteAction.STAT:
            return self._state(request.action)
        await self._write(request.offset, request.data)
        if request.action is WriteAction.COMMIT:
            return await self._commit(request.labels)
        return self._state(request.action)

    async def _expect(self, digest: Digest) -> None:
        if digest == self._expected:
            return  # looked up when it was first named; the commit looks again
        self._expected = digest

        def known(tx: Transaction) -> bool:
            found = tx.content.find(self._namespace, digest) is not None
            if found:
                tx.leases.protect(self._namespace, self._lease, "content", digest)
            return found

        if await self._db.write(known):
            await self._session.discard()
            raise AlreadyExists(f"content {digest} exists already in namespace {self._namespace}")

    async def _write(self, offset: int, data: bytes) -> None:
        if offset < 0:
            raise InvalidArgument(f"offset {offset} is negative", field="offset")
        current = self._session.offset
        if offset and offset != current:
            raise OutOfRange(f"a write at {offset} must be at the current offset {current}", field="offset")
        if offset == 0 and current:
            await self._session.truncate()
        if data:
            await self._session.write(data)
        self._updated_at = self._db.clock.now()

    async def _commit(self, labels: Mapping[str, str]) -> WriteState:
        kept = {key: value for key, value in labels.items() if value}
        info = await self._session.commit(size=self._total or None, expected=self._expected, labels=kept)
        return self._state(WriteAction.COMMIT, info.size, info.digest)

    def _state(
        self, action: WriteAction, offset: int | None = None, digest: Digest | None = None
    ) -> WriteState:
        return WriteState(
            action=action,
            offset=self._session.offset if offset is None else offset,
            total=self._total,
            digest=digest or self._session.digest,
            started_at=self._session.started_at,
            updated_at=self._updated_at,
        )
