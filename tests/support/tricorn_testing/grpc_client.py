"""A client of any of an agent's gRPC services, without `ctr`.

async with grpc_client(agent, "some-namespace") as client:
    answer = await client.call("containers.v1.Containers", "Get", id="web")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import pytest
from attrs import frozen

from tricorn import wire
from tricorn.grpc import Code, GrpcChannel, RpcError, open_channel
from tricorn_testing.daemon import Daemon

DEADLINE: Final = 60.0  # seconds for one call


@frozen
class GrpcClient:
    """Calls in one namespace. Requests are given by their fields, or whole as `request`."""

    channel: GrpcChannel
    namespace: str

    async def call(self, service: str, method: str, request: Any = None, **fields: Any) -> Any:
        found = _method(service, method)
        answer = wire.message(found.output_type.full_name)
        asked = wire.message(found.input_type.full_name)(**fields) if request is None else request
        return await self.channel.unary(_path(service, method), asked, answer, self._metadata, DEADLINE)

    async def stream(self, service: str, method: str, **fields: Any) -> list[Any]:
        """Return all answers of a method that streams them."""
        found = _method(service, method)
        answers = []
        answer = wire.message(found.output_type.full_name)
        async with self.channel.stream(_path(service, method), answer, self._metadata, DEADLINE) as call:
            await call.send(wire.message(found.input_type.full_name)(**fields), end=True)
            while (message := await call.receive()) is not None:
                answers.append(message)
        return answers

    @property
    def _metadata(self) -> list[tuple[str, str]]:
        return [("containerd-namespace", self.namespace)]


def _path(service: str, method: str) -> str:
    return f"/containerd.services.{service}/{method}"


def _method(service: str, method: str) -> Any:
    return wire.service(f"containerd.services.{service}").methods_by_name[method]


@asynccontextmanager
async def grpc_client(agent: Daemon, namespace: str) -> AsyncIterator[GrpcClient]:
    async with open_channel(agent.socket_path) as channel:
        yield GrpcClient(channel, namespace)


@contextmanager
def refused(code: Code, words: str = "") -> Iterator[None]:
    """Expect a call to end with this code and with `words` in its message."""
    with pytest.raises(RpcError) as caught:
        yield
    assert caught.value.status.code is code, caught.value.status
    assert words in caught.value.status.message
