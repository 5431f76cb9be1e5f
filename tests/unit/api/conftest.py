"""A live server on a unix socket with fake services behind it."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tricorn.api import listen as listening
from tricorn.api.http.site import HttpApi
from tricorn.api.listen import Listener
from tricorn.api.metrics import Metrics
from tricorn.api.socketfile import listen
from tricorn.rules.authorise import Authoriser, Peer
from tricorn_testing.api import BLOB, ROOT, Clock, Server, World


@pytest.fixture
def authoriser() -> Authoriser:
    return Authoriser()


@pytest.fixture
def peer() -> Peer:
    """Who the server believes its clients to be."""
    return ROOT


@pytest.fixture
async def server(
    short_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authoriser: Authoriser, peer: Peer
) -> AsyncIterator[Server]:
    from tricorn.service.operations import OperationService

    monkeypatch.setattr(listening, "peer_of", lambda _: peer)
    blob = tmp_path / "blob"
    blob.write_bytes(BLOB)
    async with OperationService.open(Clock()) as operations, trio.open_nursery() as nursery:
        world = World(operations, str(blob))
        metrics = Metrics(
            lambda: {"containers": {"running": 2}, "content": {"bytes": 5}, "deep": {"er": 3}},
            version="0.1.0",
        )
        api = HttpApi(
            world.services, authoriser=authoriser, metrics=metrics, ready=lambda: world.ready, version="0.1.0"
        )
        path = str(short_path / "s")
        listener = Listener([listen(path, pwd.getpwuid(os.getuid()).pw_name)], http1_handler=api)
        await nursery.start(listener.serve)
        running = Server(path, api, listener, world)
        yield running
        await running.close_clients()
        with trio.fail_after(60):
            await listener.stop(grace=0.5)
        assert listener.statistics()["connections_open"] == 0
        assert listener.statistics()["connections_failed"] == 0
        nursery.cancel_scope.cancel()
