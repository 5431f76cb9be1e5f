"""Whose turn it is when several nodes want a blob: ask the others, wait while one brings it, then go oneself.

Mirrors that are other agents say so in their refusals (`rules.peers.HEADER`): `none`, or `bringing N`. While
one brings the blob it is asked again, as long as N grows. Before the registry itself is asked, peers are
asked a second time after a moment, for they may have begun meanwhile; so of nodes that start together one
goes to the registry, and the others find it there. It all only saves transfers: whoever is refused, cut off
or kept waiting too long goes to the registry.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Generic, TypeVar

import structlog
import trio
from attrs import Factory, define

from tricorn import limits
from tricorn.errors import TricornError, Unavailable
from tricorn.model.ids import Digest
from tricorn.rules.hosts import RegistryHost

log = structlog.get_logger(__name__)
T = TypeVar("T")
Attempt = Callable[[RegistryHost], Awaitable[T]]


@define
class _Blob:
    """A blob on its way. `certain` means that it comes without waiting for another node's precedence."""

    holders: int = 0
    at_registry: int = 0
    complete: bool = False
    moving: Callable[[], bool] = lambda: False

    @property
    def certain(self) -> bool:
        return self.complete or self.at_registry > 0 or self.moving()


class Turns:
    """The blobs that this node brings now."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, _Blob] = {}
        self._mistrusted: dict[Digest, None] = {}

    def asking(self, digest: Digest) -> bool:
        """Whether the node wants a blob, and has begun to ask for it."""
        return digest in self._blobs

    def certain(self, digest: Digest) -> bool:
        """Whether it comes already: from the registry, or from a peer that has it."""
        return digest in self._blobs and self._blobs[digest].certain

    @asynccontextmanager
    async def bringing(self, digest: Digest) -> AsyncIterator[None]:
        """Let a blob count as wanted, to the end of its verification: whoever waits for it may go on then."""
        with self._held(digest):
            yield

    def mistrust(self, digest: Digest) -> None:
        """Remember that what came wasn't the blob, so that the next try takes it from the registry alone: a
        mirror with wrong bytes must not keep an image away for ever.
        """
        self._mistrusted[digest] = None
        while len(self._mistrusted) > limits.PEER_DOCUMENTS:
            del self._mistrusted[next(iter(self._mistrusted))]

    def trusted(self, digest: Digest, hosts: Sequence[RegistryHost]) -> list[RegistryHost]:
        """Return the hosts that a blob may come from, in order."""
        mirrors = digest not in self._mistrusted
        return [host for host in hosts if mirrors or host.upstream] or list(hosts)

    @contextmanager
    def _held(self, digest: Digest) -> Iterator[_Blob]:
        blob = self._blobs.setdefault(digest, _Blob())
        blob.holders += 1
        try:
            yield blob
        finally:
            blob.holders -= 1
            if not blob.holders:
                del self._blobs[digest]

    @contextmanager
    def taking(
        self, digest: Digest, attempt: Attempt[T], offset: Callable[[], int] = lambda: 0
    ) -> Iterator[Attempt[T]]:
        """Give what to call in place of `attempt`, while the blob is being brought. `offset` tells how many
        bytes have come.
        """
        with self._held(digest) as blob:
            begun = offset()
            blob.moving = lambda: offset() > begun
            try:
                yield _Turn(digest, blob, attempt, offset).run
            finally:
                blob.moving = lambda: False


@define
class _Turn(Generic[T]):
    digest: Digest
    blob: _Blob
    attempt: Attempt[T]
    offset: Callable[[], int]
    peers: list[RegistryHost] = Factory(list)  # hosts that turned out to be other agents

    async def run(self, host: RegistryHost) -> T:
        brought = await self._brought(host)
        self.blob.complete = True
        return brought

    async def _brought(self, host: RegistryHost) -> T:
        if not host.upstream:
            return await self._ask(host)
        if self.peers:
            await trio.sleep(limits.PEER_SECOND_LOOK)
            for peer in self.peers:
                begun = self.offset()
                try:
                    return await self._ask(peer)
                except TricornError:
                    if self.offset() > begun:
                        raise
        self.blob.at_registry += 1
        try:
            return await self.attempt(host)
        finally:
            self.blob.at_registry -= 1

    async def _ask(self, host: RegistryHost) -> T:
        """Try a mirror; a peer that brings the blob is tried again while that makes progress."""
        patience = _Patience()
        while True:
            try:
                return await self.attempt(host)
            except TricornError as error:
                word = str(error.details.get("peer", ""))
                if word and host not in self.peers:
                    self.peers.append(host)
                if not word.startswith("bringing") or not patience.lasts(word):
                    raise
                log.debug("waiting for a peer", peer=str(host), digest=self.digest, progress=word)
                if isinstance(error, Unavailable) and not patience.held():
                    await trio.sleep(limits.PEER_POLL)


class _Patience:
    """How long to wait for a peer: while it makes progress, and not for ever."""

    def __init__(self) -> None:
        self._began = self._moved = self._asked = trio.current_time()
        self._word = ""

    def lasts(self, word: str) -> bool:
        now = trio.current_time()
        if word != self._word:
            self._word, self._moved = word, now
        return now - self._moved < limits.PEER_PATIENCE and now - self._began < limits.PEER_WAIT

    def held(self) -> bool:
        """Whether the peer took its time to answer, so that it may be asked again at once."""
        before, self._asked = self._asked, trio.current_time()
        return self._asked - before >= limits.PEER_POLL
