"""Whatever happens through the HTTP door, gRPC's subscribers hear of it in containerd's messages."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tricorn import wire
from tricorn.api.grpc.event_payloads import TYPES
from tricorn.grpc import open_channel
from tricorn_testing.daemon import Daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]

LIFE = (
    "/containers/create",
    "/tasks/create",
    "/tasks/start",
    "/tasks/exec-added",
    "/tasks/exec-started",
    "/tasks/exit",
    "/tasks/delete",
    "/containers/delete",
)


def live(agent: Daemon, reference: str) -> None:
    """Have an image and a container come and go."""
    agent.put("/v1/both/images", {"reference": reference, "plain_http": True})
    wanted = {"image": reference, "args": ["sleep", "1000"], "state": "started"}
    agent.put("/v1/both/containers/web", wanted)
    agent.post("/v1/both/containers/web/exec", {"args": ["true"]})
    agent.put("/v1/both/containers/web", {**wanted, "state": "absent"})
    agent.put("/v1/both/images", {"reference": reference, "state": "absent"})


async def test_every_event_is_a_message_of_containerds(ctr_agent: Daemon, busybox_reference: str) -> None:
    heard: list[Any] = []
    answer = wire.message("containerd.types.Envelope")
    request = wire.message("containerd.services.events.v1.SubscribeRequest")(filters=["namespace==both"])
    with trio.fail_after(120):
        async with (
            open_channel(ctr_agent.socket_path) as channel,
            trio.open_nursery() as nursery,
            channel.stream("/containerd.services.events.v1.Events/Subscribe", answer) as call,
        ):
            await call.send(request, end=True)
            ticking = await nursery.start(tick, ctr_agent)
            while (await call.receive()).topic != "/namespaces/update":
                pass
            ticking.cancel()
            nursery.start_soon(trio.to_thread.run_sync, live, ctr_agent, busybox_reference)
            while not heard or heard[-1].topic != "/images/delete":
                heard.append(await call.receive())
    for envelope in heard:
        assert envelope.event.type_url == TYPES[envelope.topic], envelope
        assert wire.unpack(envelope.event).ListFields()
    topics = [envelope.topic for envelope in heard if envelope.topic in LIFE]
    assert list(dict.fromkeys(topics)) == sorted(dict.fromkeys(topics), key=LIFE.index)
    assert set(topics) == set(LIFE)


async def tick(agent: Daemon, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    """Make events until cancelled: the first one that is heard tells that the subscription has begun."""
    with trio.CancelScope() as scope:
        task_status.started(scope)
        for number in range(100_000):
            body = {"labels": {"tick": str(number)}}
            await trio.to_thread.run_sync(agent.put, "/v1/namespaces/both", body)
            await trio.sleep(0.02)
