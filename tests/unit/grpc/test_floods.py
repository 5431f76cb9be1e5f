"""Noise is allowed in bursts; what asks for nothing again and again ends its connection."""

from __future__ import annotations

import pytest

from tricorn import limits
from tricorn.grpc import frames
from tricorn.grpc.engine import Engine
from tricorn.grpc.events import ErrorCode, Event, ProtocolViolation
from tricorn.grpc.floods import Flood, FloodGuard
from tricorn_testing.grpc_calls import HELLO, data, headers, reset, settings, window_update


def drain(engine: Engine) -> list[Event]:
    events: list[Event] = []
    more = True
    while more:
        found, more = engine.events()
        events += found
    return events


def test_the_guard_refills_with_time() -> None:
    now = 0.0
    guard = FloodGuard(lambda: now)
    guard.spend(limits.GRPC_IDLE_FRAMES)
    now = 1.0
    guard.spend(limits.GRPC_IDLE_FRAME_RATE - 1)
    with pytest.raises(Flood):
        guard.spend(2)


def test_work_pays_for_noise() -> None:
    guard = FloodGuard(lambda: 0.0)
    for _ in range(10 * limits.GRPC_IDLE_FRAMES):
        guard.earn(2)
        guard.spend(2)


FLOODS = {
    "ping": frames.encode(frames.PING, 0, 0, bytes(8)),
    "settings": settings(),
    "settings ack": frames.encode(frames.SETTINGS, 1, 0, b""),
    "window": window_update(0, 1),
    "stream window": window_update(1, 1),
    "empty data": data(1, b""),
    "tiny data": data(1, b"x"),
    "priority": frames.encode(frames.PRIORITY, 0, 3, bytes(5)),
    "unknown": frames.encode(0x77, 0, 0, b""),
    "goaway": frames.encode(frames.GOAWAY, 0, 0, bytes(8)),
    "late data": data(3, b"x" * 100),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_are_cut_off(name: str) -> None:
    engine = Engine(client=False, guard=FloodGuard(lambda: 0.0))
    engine.feed(HELLO + headers(1) + headers(3) + reset(3))
    with pytest.raises(ProtocolViolation) as caught:
        for _ in range(1000):
            engine.feed(FLOODS[name] * 100)
            drain(engine)
            engine.take_output()
    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM


def test_rapid_reset_is_cut_off() -> None:
    engine = Engine(client=False, guard=FloodGuard(lambda: 0.0))
    engine.feed(HELLO)
    with pytest.raises(ProtocolViolation, match="frames"):
        for number in range(1, 20_000, 2):
            engine.feed(headers(number) + reset(number))
            drain(engine)


def test_a_thousand_calls_may_be_cancelled_at_once() -> None:
    engine = Engine(client=False, guard=FloodGuard(lambda: 0.0))
    numbers = range(1, 2001, 2)
    engine.feed(HELLO + b"".join(map(headers, numbers)) + b"".join(map(reset, numbers)))
    assert len(drain(engine)) == 2001
