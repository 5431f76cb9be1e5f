"""A running server and a channel to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tricorn.grpc import GrpcChannel, GrpcServer, open_channel
from tricorn_testing.grpc_calls import Door, Handlers, open_door, translate


@pytest.fixture(params=[False, True, lambda _: True], ids=["in tasks", "quick", "quick by request"])
def handlers(request: pytest.FixtureRequest) -> Handlers:
    """The same methods: each call in a task of its own; answered as soon as it is read; or once its request
    has been looked at.
    """
    return Handlers(quick=request.param)


@pytest.fixture
def server(handlers: Handlers) -> GrpcServer:
    return GrpcServer(handlers.methods(), translate=translate)


@pytest.fixture
async def door(server: GrpcServer) -> AsyncIterator[Door]:
    async with open_door(server) as door:
        yield door


@pytest.fixture
async def channel(door: Door) -> AsyncIterator[GrpcChannel]:
    async with open_channel(await door.connect()) as channel:
        yield channel
