"""Pulls from registries that misbehave: they go on, or end with an error that names host and remedy; what is
on the node stays whole, nothing of them leaks, and the next pull succeeds.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import attrs
import pytest

from tricorn.app import Agent
from tricorn.errors import (
    DataLoss,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TricornError,
    Unauthenticated,
    Unavailable,
)
from tricorn_testing.faulty_registry import (
    PHASES,
    Fault,
    FaultyRegistry,
    Served,
    cut,
    drip,
    endless,
    other_bytes,
    redirect_loop,
    silence,
    silent_after,
    status,
    too_long,
    too_short,
)
from tricorn_testing.images import ImageLayout
from tricorn_testing.paths import short_directory
from tricorn_testing.pulling import QUICK, check_sound, check_whole, found, noisy_layout, opened, pull

pytestmark = [pytest.mark.root, pytest.mark.integration]
Opener = Callable[..., AbstractAsyncContextManager[FaultyRegistry]]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageLayout, str]:
    return noisy_layout(tmp_path_factory.mktemp("faulty"))


@pytest.fixture
def registry(image: tuple[ImageLayout, str]) -> Opener:
    """`async with registry(layer=[cut(7)], guarded=True) as r`."""

    def make(*, guarded: bool = False, **faults: list[Fault]) -> AbstractAsyncContextManager[FaultyRegistry]:
        return FaultyRegistry(*image, faults, guarded=guarded).serving()

    return make


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made


@pytest.fixture
async def agent(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    """An agent in this process whose registry client is quick to try again."""
    async with opened(directory, monkeypatch, QUICK) as agent:
        yield agent


@pytest.fixture
async def hasty_agent(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    """An agent whose registry client is quick to lose patience, too."""
    async with opened(directory, monkeypatch, attrs.evolve(QUICK, stall=0.3)) as agent:
        yield agent


async def refused(agent: Agent, registry: FaultyRegistry, error: type[TricornError]) -> TricornError:
    """Pull in vain; return the error, which names the registry and a remedy."""
    with pytest.raises(error) as caught:
        await pull(agent, registry)
    assert registry.server.address in str(caught.value)
    assert caught.value.hint
    assert not await agent.services.images.list("default")
    await check_sound(agent)
    return caught.value


async def check_nothing_stays(agent: Agent) -> None:
    """What a failed pull keeps for the next one is held by its lease, and by nothing else."""
    for lease in await agent.services.leases.list("default", ()):
        assert "containerd.io/gc.expire" in lease.labels
        await agent.services.leases.delete("default", lease.id)
    await agent.services.gc.collect(dry_run=False)
    assert not await agent.workers.content.list("default")
    assert not await agent.workers.content.statuses("default")
    assert not found(agent, "content/ingests/*", "content/blobs/sha256/*")


# ---------------------------------------------------------------- what passes
PASSING = {
    "cut": [cut(-1), cut(0), cut(10)],
    "429": [
        status(429, {"Retry-After": "86400"}),
        status(
            429, {"Retry-After": "Wed, 31 Dec 2098 23:59:59 GMT", "Date": "Sun, 22 Nov 2026 10:00:00 GMT"}
        ),
        status(429, {"Retry-After": "soon"}),
    ],
    "5xx": [status(500), status(502), status(503, {"Retry-After": "1"})],
}


@pytest.mark.parametrize("faults", PASSING)
async def test_what_passes_in_any_phase_is_gone_past(agent: Agent, registry: Opener, faults: str) -> None:
    """The pull gets over the same faults in every phase."""
    one, two, three = PASSING[faults]  # documents are tried three times, a token with what it is for
    left = {"token": [one], "resolve": [two], "manifest": [one, three], "config": [two, three]}
    left |= {"layer": [one, two, three], "rest": [three, two, one]}
    async with registry(guarded=True, **left) as faulty:
        await pull(agent, faulty)
        await check_whole(agent, faulty)
        assert faulty.behaves()
        assert agent.workers.registry.statistics()["connections_busy"] == 0


async def test_silence_before_a_layer_is_gone_past(hasty_agent: Agent, registry: Opener) -> None:
    async with registry(guarded=True, token=[silence], resolve=[silence], config=[silence]) as faulty:
        await pull(hasty_agent, faulty)
        await check_whole(hasty_agent, faulty)
        assert faulty.behaves()


@pytest.mark.parametrize("offset", [1, 1 << 20, -1])
async def test_a_layer_goes_on_where_it_broke(agent: Agent, registry: Opener, offset: int) -> None:
    async with registry() as faulty:
        at = offset % faulty.size
        faulty.have("layer", [cut(at), cut(0)])
        await pull(agent, faulty)
        await check_whole(agent, faulty)
        assert faulty.offsets() == [0, at, at]


async def test_a_layer_goes_on_where_it_stalled(hasty_agent: Agent, registry: Opener) -> None:
    async with registry(layer=[silent_after(1_000_000), drip]) as faulty:
        await pull(hasty_agent, faulty)
        await check_whole(hasty_agent, faulty)
        first, second, third, *_ = faulty.offsets()
        assert first < second <= third < 1_001_000


@pytest.mark.parametrize("phase", ["config", "layer"])
async def test_too_few_bytes_are_asked_for_again(agent: Agent, registry: Opener, phase: str) -> None:
    async with registry(**{phase: [too_short]}) as faulty:
        await pull(agent, faulty)
        await check_whole(agent, faulty)


async def test_a_token_that_ends_in_the_middle_of_a_layer(agent: Agent, registry: Opener) -> None:
    async def expire(served: Served) -> None:
        faulty.tokens.clear()
        await cut(1_000_000)(served)

    async with registry(guarded=True, layer=[expire]) as faulty:
        await pull(agent, faulty)
        await check_whole(agent, faulty)
        assert len(faulty.asked("token")) == 2
        assert set(faulty.offsets()) == {0, 1_000_000}


# ---------------------------------------------------------------- what doesn't
ALWAYS = 50
LASTING: dict[str, tuple[Fault, type[TricornError]]] = {
    "no answers": (cut(-1), Unavailable),
    "503": (status(503), Unavailable),
    "403": (status(403), PermissionDenied),
    "404": (status(404), NotFound),
    "loop": (redirect_loop, FailedPrecondition),
}
OF_TOKENS = {"404": Unauthenticated, "loop": FailedPrecondition}


@pytest.mark.parametrize("fault", LASTING)
async def test_what_lasts_is_told_and_the_next_pull_is_whole(
    agent: Agent, registry: Opener, fault: str
) -> None:
    act, error = LASTING[fault]
    for phase in PHASES:
        # A HEAD that is refused is followed by a GET, whose body tells why.
        faults = {phase: [act] * ALWAYS} | ({"manifest": [act] * ALWAYS} if phase == "resolve" else {})
        async with registry(guarded=True, **faults) as faulty:
            await refused(agent, faulty, OF_TOKENS.get(fault, error) if phase == "token" else error)
            await check_nothing_stays(agent)
            if phase == "layer":
                faulty.mend()
                await pull(agent, faulty)
                await check_whole(agent, faulty)
                await agent.services.images.delete("default", faulty.reference, sync=True)


@pytest.mark.parametrize("phase", ["manifest", "config", "layer"])
async def test_bytes_that_are_not_the_right_ones_are_not_kept(
    agent: Agent, registry: Opener, phase: str
) -> None:
    async with registry() as faulty:
        for fault in (other_bytes, too_long, too_short, endless):
            faulty.have(phase, [fault] * ALWAYS)
            await refused(agent, faulty, DataLoss)
        faulty.mend()
        await pull(agent, faulty)
        await check_whole(agent, faulty)


async def test_an_endless_token_is_no_token(agent: Agent, registry: Opener) -> None:
    async with registry(guarded=True, token=[endless] * ALWAYS) as faulty:
        await refused(agent, faulty, Unauthenticated)


async def test_what_a_broken_pull_brought_is_there_for_the_next(agent: Agent, registry: Opener) -> None:
    async with registry(layer=[cut(1_000_000), *[status(503)] * ALWAYS]) as faulty:
        await refused(agent, faulty, Unavailable)
        await agent.services.gc.collect(dry_run=False)
        faulty.mend()
        before = len(faulty.asked("layer")), len(faulty.asked("config"))
        await pull(agent, faulty)
        await check_whole(agent, faulty)
        assert faulty.offsets()[before[0] :] == [1_000_000]
        assert len(faulty.asked("config")) == before[1]


async def test_what_a_broken_pull_brought_does_not_stay_for_ever(agent: Agent, registry: Opener) -> None:
    async with registry(layer=[cut(1_000_000), *[status(503)] * ALWAYS]) as faulty:
        await refused(agent, faulty, Unavailable)
        await check_nothing_stays(agent)


async def test_a_mirror_that_breaks_off_is_followed_by_the_registry(
    agent: Agent, directory: Path, registry: Opener
) -> None:
    """What the mirror brought is not brought again."""
    async with registry() as up, registry(layer=[cut(1_000_000), *[status(404)] * ALWAYS]) as mirror:
        hosts = directory / "hosts.d" / up.server.address
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(f'server = "{up.server.url}"\n[host."{mirror.server.url}"]\n')
        await pull(agent, up)
        await check_whole(agent, up)
        assert mirror.offsets() == [0, 1_000_000]
        assert up.offsets() == [1_000_000]


# ---------------------------------------------------------------- the disk
@pytest.fixture(params=["content", "snapshots"])
def small_disk(directory: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """A part of the agent's data is on a disk of 1 MiB until the returned function is called."""
    place = directory / "root" / request.param
    place.mkdir(parents=True)

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(place)], check=True, timeout=30)

    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")
    yield partial(mount, "-o", "remount,size=16m")
    subprocess.run(["umount", str(place)], check=True, timeout=30)


async def test_a_full_disk(small_disk: Callable[[], None], agent: Agent, registry: Opener) -> None:
    """Nothing half-made stays, and with room the next pull is whole."""
    async with registry() as faulty:
        with pytest.raises(ResourceExhausted, match="space") as caught:
            await pull(agent, faulty)
        assert caught.value.hint
        await check_sound(agent)
        await check_nothing_stays(agent)
        small_disk()
        await pull(agent, faulty)
        await check_whole(agent, faulty)
