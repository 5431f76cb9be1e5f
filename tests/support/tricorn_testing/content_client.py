"""A client of an agent's content and image services, over gRPC and without `ctr`."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import trio
from attrs import field, frozen

from tricorn import wire
from tricorn.grpc import Code, GrpcChannel, RpcError, open_channel
from tricorn.model.ids import Digest
from tricorn_testing.agentclient import AgentClient

content = wire.package("containerd.services.content.v1")
images = wire.package("containerd.services.images.v1")
EMPTY: Final = wire.message("google.protobuf.Empty")
STAT, WRITE, COMMIT = 0, 1, 2
DEADLINE: Final = 60.0  # seconds for one call
DATA: Final = os.urandom(3_000_000)
DIGEST: Final = Digest.of(DATA)


@frozen
class Client:
    """Calls both services in one namespace, under a lease if it has one."""

    agent: AgentClient
    channel: GrpcChannel
    namespace: str
    lease: str = field(default="", kw_only=True)

    @property
    def metadata(self) -> list[tuple[str, str]]:
        lease = [("containerd-lease", self.lease)] if self.lease else []
        return [("containerd-namespace", self.namespace), *lease]

    async def call(self, method: str, request: Any) -> Any:
        service = content if hasattr(content, type(request).__name__) else images
        name = "content.v1.Content" if service is content else "images.v1.Images"
        path = f"/containerd.services.{name}/{method}"
        return await self.channel.unary(path, request, ANSWERS[method](service), self.metadata, DEADLINE)

    async def collect(self, method: str, request: Any, answer: Any) -> list[Any]:
        path = f"/containerd.services.content.v1.Content/{method}"
        answers = []
        async with self.channel.stream(path, answer, self.metadata, DEADLINE) as call:
            await call.send(request, end=True)
            while (message := await call.receive()) is not None:
                answers.append(message)
        return answers

    async def read(self, digest: str = DIGEST, **part: int) -> bytes:
        request = content.ReadContentRequest(digest=digest, **part)
        pieces = await self.collect("Read", request, content.ReadContentResponse)
        offset = 0
        for piece in pieces:
            assert piece.offset == offset
            assert 0 < len(piece.data) <= 1 << 20
            offset += len(piece.data)
        return b"".join(piece.data for piece in pieces)

    @asynccontextmanager
    async def writing(self, ref: str, **first: Any) -> AsyncIterator[Writer]:
        path = "/containerd.services.content.v1.Content/Write"
        answer = content.WriteContentResponse
        async with self.channel.stream(path, answer, self.metadata, DEADLINE) as call:
            writer = Writer(call)
            await writer.ask(STAT, ref=ref, **first)
            yield writer

    async def put(self, data: bytes = DATA, ref: str = "put", **labels: str) -> str:
        async with self.writing(ref) as writer:
            answer = await writer.ask(COMMIT, data=data, labels=labels)
            await writer.call.finish()
        return str(answer.digest)

    async def info(self, digest: str = DIGEST) -> Any:
        return (await self.call("Info", content.InfoRequest(digest=digest))).info

    async def statuses(self) -> list[Any]:
        return list((await self.call("ListStatuses", content.ListStatusesRequest())).statuses)


ANSWERS: Mapping[str, Any] = {
    "Info": lambda s: s.InfoResponse,
    "Status": lambda s: s.StatusResponse,
    "ListStatuses": lambda s: s.ListStatusesResponse,
    "Get": lambda s: s.GetImageResponse,
    "Create": lambda s: s.CreateImageResponse,
    "List": lambda s: s.ListImagesResponse,
    "Update": lambda s: s.UpdateResponse if s is content else s.UpdateImageResponse,
    "Delete": lambda s: EMPTY,
    "Abort": lambda s: EMPTY,
}


@frozen
class Writer:
    call: Any

    async def ask(self, action: int, **fields: Any) -> Any:
        await self.call.send(content.WriteContentRequest(action=action, **fields))
        return await self.call.receive()


@asynccontextmanager
async def content_client(
    agent: AgentClient, namespace: str, lease: str = "of-the-test"
) -> AsyncIterator[Client]:
    """Connect to the agent for the length of the context, under a lease that is made for it ("" for none):
    a collection may come at any time.
    """
    if lease:
        await make_lease(agent, namespace, lease)
    async with open_channel(agent.socket_path) as channel:
        yield Client(agent, channel, namespace, lease=lease)


async def make_lease(agent: AgentClient, namespace: str, name: str) -> None:
    await trio.to_thread.run_sync(agent.post, f"/v1/{namespace}/leases", {"id": name})


def refused(code: Code, text: str = "") -> Any:
    """Expect the call to end with this code, and with the text in its message."""
    return pytest.raises(RpcError, match=rf"(?s)\A{code.name}: .*{re.escape(text)}")
