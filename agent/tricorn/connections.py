"""The open connections of one door: told together to finish, to stop, or to make room for others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class ServedConnection(Protocol):
    """One client's connection."""

    @property
    def idle(self) -> bool: ...

    @property
    def idle_since(self) -> float: ...

    async def serve(self) -> None:
        """Serve until either side closes."""
        ...

    def drain(self) -> None:
        """Close now if idle, else after what is under way."""
        ...

    def abort(self) -> None:
        """Cut what is under way off; its client is told."""
        ...


C = TypeVar("C", bound=ServedConnection)


class Connections(Generic[C]):
    """What `api.listen.ConnectionHandler` asks of a door, for connections that are added by `serve`."""

    def __init__(self) -> None:
        self._open: dict[C, None] = {}
        self._draining = False

    def __iter__(self) -> Iterator[C]:
        return iter(list(self._open))

    async def serve(self, connection: C) -> None:
        """Serve a connection to its end."""
        self._open[connection] = None
        if self._draining:
            connection.drain()
        try:
            await connection.serve()
        finally:
            del self._open[connection]

    def drain(self) -> None:
        """Close idle connections now, busy ones after what is under way."""
        self._draining = True
        for connection in self:
            connection.drain()

    def abort(self) -> None:
        """Cut off what is under way on all of them."""
        for connection in self:
            connection.abort()

    def shed(self) -> bool:
        """Close the connection that has been idle longest, and return whether there was one."""
        idle = [connection for connection in self._open if connection.idle]
        if not idle:
            return False
        min(idle, key=lambda connection: connection.idle_since).drain()
        return True

    def statistics(self) -> dict[str, int]:
        """Return how many are open, and how many of those are idle."""
        idle = sum(1 for connection in self._open if connection.idle)
        return {"connections": len(self._open), "connections_idle": idle}
