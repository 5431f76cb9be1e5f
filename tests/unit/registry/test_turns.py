"""Several nodes want a blob: each asks the others, one goes to the registry, nobody waits for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tricorn import limits
from tricorn.errors import NotFound, Unavailable
from tricorn.model.ids import Digest
from tricorn.registry.turns import Turns
from tricorn.rules.hosts import RegistryHost, plan_hosts

DIGEST = Digest.of(b"blob")
PEER, UPSTREAM = plan_hosts("r.example", {"host": {"https://peer.example": {}}}).hosts
Answer = Callable[[], Awaitable[str]]


class Hosts:
    """Scripted answers by host; the last one is repeated."""

    def __init__(self, **answers: list[str | Exception]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def attempt(self, host: RegistryHost) -> str:
        await trio.lowlevel.checkpoint()
        name = "upstream" if host.upstream else "peer"
        self.asked.append(name)
        script = self.answers[name]
        answer = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def none() -> NotFound:
    return NotFound("not here", peer="none")


def bringing(count: int) -> Unavailable:
    return Unavailable("on its way", peer=f"bringing {count}")


async def bring(turns: Turns, hosts: Hosts) -> str:
    """What the registry client's rounds make of it, in short."""
    error: Exception | None = None
    with turns.taking(DIGEST, hosts.attempt) as attempt:
        for host in (PEER, UPSTREAM):
            try:
                return await attempt(host)
            except (NotFound, Unavailable) as failure:
                error = failure
    assert error is not None
    raise error


async def test_a_mirror_that_is_no_peer_is_asked_once(autojump_clock: trio.testing.MockClock) -> None:
    hosts = Hosts(peer=[NotFound("404")], upstream=["blob"])
    assert await bring(Turns(), hosts) == "blob"
    assert hosts.asked == ["peer", "upstream"]
    assert trio.current_time() < limits.PEER_SECOND_LOOK + 1e9


async def test_a_peer_is_asked_again_before_the_registry_is(autojump_clock: trio.testing.MockClock) -> None:
    hosts = Hosts(peer=[none(), "from the peer"], upstream=["blob"])
    assert await bring(Turns(), hosts) == "from the peer"
    assert hosts.asked == ["peer", "peer"]
    hosts = Hosts(peer=[none()], upstream=["blob"])
    assert await bring(Turns(), hosts) == "blob"
    assert hosts.asked == ["peer", "peer", "upstream"]


async def test_a_peer_that_makes_progress_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    steps: list[str | Exception] = [bringing(n) for n in range(40)]
    hosts = Hosts(peer=[*steps, "from the peer"], upstream=["blob"])
    assert await bring(Turns(), hosts) == "from the peer"
    assert len(hosts.asked) == 41


async def test_a_peer_without_progress_is_left_for_the_registry(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hosts = Hosts(peer=[bringing(7)], upstream=["blob"])
    began = trio.current_time()
    assert await bring(Turns(), hosts) == "blob"
    assert hosts.asked[-1] == "upstream"
    assert trio.current_time() - began < 2 * limits.PEER_PATIENCE + 5


async def test_even_with_progress_nobody_waits_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    counter = iter(range(10**9))

    class Endless(Hosts):
        async def attempt(self, host: RegistryHost) -> str:
            if host.upstream:
                return "blob"
            await trio.sleep(1)
            raise bringing(next(counter))

    began = trio.current_time()
    assert await bring(Turns(), Endless(peer=[], upstream=[])) == "blob"
    assert trio.current_time() - began < 2 * limits.PEER_WAIT + 60


async def test_others_are_told_what_is_certain_to_come() -> None:
    turns = Turns()
    assert not turns.asking(DIGEST)
    seen: list[tuple[bool, bool]] = []

    async def attempt(host: RegistryHost) -> str:
        seen.append((turns.asking(DIGEST), turns.certain(DIGEST)))
        if not host.upstream:
            raise NotFound("404")
        return "blob"

    async with turns.bringing(DIGEST):
        with turns.taking(DIGEST, attempt) as take:
            with pytest.raises(NotFound):
                await take(PEER)
            assert not turns.certain(DIGEST)
            await take(UPSTREAM)
        assert turns.certain(DIGEST)  # until it is verified: whoever waits is served then
    assert seen == [(True, False), (True, True)]
    assert not turns.asking(DIGEST)


def test_a_blob_that_came_wrong_is_taken_from_the_registry_alone() -> None:
    turns = Turns()
    assert turns.trusted(DIGEST, [PEER, UPSTREAM]) == [PEER, UPSTREAM]
    turns.mistrust(DIGEST)
    assert turns.trusted(DIGEST, [PEER, UPSTREAM]) == [UPSTREAM]
    assert turns.trusted(DIGEST, [PEER]) == [PEER]
    for number in range(2 * limits.PEER_DOCUMENTS):
        turns.mistrust(Digest.of(str(number).encode()))
    assert turns.trusted(DIGEST, [PEER, UPSTREAM]) == [PEER, UPSTREAM]


async def test_bytes_that_come_are_certain_and_a_failure_is_not() -> None:
    turns, got = Turns(), [0]

    async def attempt(host: RegistryHost) -> str:
        got[0] += 10
        assert turns.certain(DIGEST)
        raise Unavailable("broke off")

    async with turns.bringing(DIGEST):
        with turns.taking(DIGEST, attempt, lambda: got[0]) as take, pytest.raises(Unavailable):
            await take(UPSTREAM)
        assert not turns.certain(DIGEST)
        assert turns.asking(DIGEST)
