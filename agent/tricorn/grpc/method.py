"""What a server offers: its methods, and what their handlers get."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, Self

from attrs import frozen

from tricorn.grpc.framing import RawMessage


class Message(Protocol):
    """What protobuf's message classes offer."""

    @classmethod
    def FromString(cls, data: bytes, /) -> Self: ...  # noqa: N802 - protobuf's name

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name


class Call(Protocol):
    """One call, as its handler sees it. Metadata names are in lower case; `binary_metadata` has those that
    end in `-bin`, decoded. `deadline` is a time of Trio's clock.
    """

    @property
    def peer(self) -> Any: ...
    @property
    def method(self) -> Method: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def binary_metadata(self) -> Mapping[str, bytes]: ...
    @property
    def deadline(self) -> float | None: ...

    async def send(self, message: Any) -> None:
        """Send a message (or RawMessage) of a streamed answer; return when the connection took it over."""
        ...

    async def receive(self) -> Any:
        """Return the client's next message, None when it sends no more. RpcError if it can't be read."""
        ...

    def set_trailing(self, name: str, value: str | bytes) -> None:
        """Add to the metadata that ends the answer. ValueError for what gRPC doesn't allow."""
        ...


Handler = Callable[..., Awaitable[Any]]


@frozen
class Method:
    """One method. A handler takes `(call, request)` if the client sends one message, else `(call)`. It
    returns the answer if the server sends one message, else the last one (if it hasn't sent it) or None.

    `endless` methods last as long as their client wants: they end as soon as the server stops. `quick` ones,
    whose client sends one message and which answer with the one that they return, wait for nothing but what
    is at hand: they are answered in the order of their calls, before the connection is read on. A function
    there tells of a request whether it is quick.
    """

    path: str
    request: Any
    response: Any
    client_streaming: bool
    server_streaming: bool
    handler: Handler
    endless: bool = False
    quick: bool | Callable[[Any], bool] = False


__all__ = ["Call", "Handler", "Message", "Method", "RawMessage"]
