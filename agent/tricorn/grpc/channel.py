"""Calls gRPC methods of one server over one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import trio

from tricorn.grpc.client_call import ClientCall
from tricorn.grpc.client_connection import ClientConnection
from tricorn.grpc.status import Code, RpcError

R = TypeVar("R")
Metadata = Iterable[tuple[str, str | bytes]]
_AUTHORITY: Final = "localhost"


class GrpcChannel:
    """Made by `open_channel`. Any number of tasks may call at the same time. When the connection is lost,
    calls end with UNAVAILABLE; a channel doesn't connect again.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @property
    def lost(self) -> bool:
        """Whether there is no connection any more."""
        return self._connection.lost is not None

    async def unary(
        self,
        path: str,
        request: Any,
        response_class: type[R],
        metadata: Metadata = (),
        timeout: float | None = None,
    ) -> R:
        """Send one message and return the one that answers it. Raises RpcError, also for `timeout` seconds
        that are over.
        """
        async with self.stream(path, response_class, metadata, timeout) as call:
            await call.send(request, end=True)
            answer: R | None = await call.receive()
            if answer is None:
                raise RpcError.of(Code.INTERNAL, "the server sent no answer")
            await call.finish()
            return answer

    @asynccontextmanager
    async def stream(
        self, path: str, response_class: type, metadata: Metadata = (), timeout: float | None = None
    ) -> AsyncIterator[ClientCall]:
        """Open a call with any number of messages either way. Leaving the block before its end cancels it."""
        call = await self._connection.open(path, response_class, metadata, timeout)
        try:
            yield call
        finally:
            call.close()


@asynccontextmanager
async def open_channel(
    target: str | trio.abc.Stream, *, authority: str = _AUTHORITY
) -> AsyncIterator[GrpcChannel]:
    """Connect to the unix socket at `target`, or take over a connected stream, for the length of the block.

    Raises OSError if nobody listens.
    """
    stream = await trio.open_unix_socket(target) if isinstance(target, str) else target
    failure: Exception | None = None
    async with stream, trio.open_nursery() as nursery:
        connection = ClientConnection(stream, authority)
        nursery.start_soon(connection.serve)
        try:
            yield GrpcChannel(connection)
        except Exception as error:  # noqa: BLE001 - raised below: the nursery would wrap it
            failure = error
        connection.lose("the channel is closed")
        await connection.say_goodbye()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
