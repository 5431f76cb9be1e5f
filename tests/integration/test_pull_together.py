"""Pulls of the same thing at the same time: the work is done once, and nobody pays for another's leaving."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tricorn.app import Agent
from tricorn.errors import Unavailable
from tricorn.model.requests import ImageDesired
from tricorn_testing.faulty_registry import Fault, FaultyRegistry, Served, cut, status
from tricorn_testing.images import ImageLayout, LayerBuilder
from tricorn_testing.paths import short_directory
from tricorn_testing.pulling import QUICK, check_sound, check_whole, noisy_layout, opened, pull

pytestmark = [pytest.mark.root, pytest.mark.integration]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageLayout, str]:
    return noisy_layout(tmp_path_factory.mktemp("together"))


@pytest.fixture
async def agent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    with short_directory() as directory:
        async with opened(directory, monkeypatch, QUICK) as agent:
            yield agent


class Gate:
    """A fault that sends half of a body, and the rest once the test has seen enough."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.open = trio.Event()

    async def __call__(self, served: Served) -> None:
        half = len(served.body) // 2
        await served.raw(served.body[:half], len(served.body))
        self.reached.set()
        await self.open.wait()
        await served.exchange.stream.send_all(served.body[half:])


def blob_requests(registry: FaultyRegistry) -> list[str]:
    """What was asked for beside the name, sorted: each once if the work was done once."""
    return sorted(f"{each.method} {each.path}" for each in registry.server.seen if each.method == "GET")


def each_once(registry: FaultyRegistry) -> bool:
    asked = blob_requests(registry)
    return len(asked) == len(set(asked)) == 4  # manifest, config and two layers


async def until_waiting(agent: Agent, count: int) -> None:
    """Wait until so many pulls have come as far as the first lock that somebody holds."""
    locks = agent.services.images._puller
    with trio.fail_after(30):
        while _waiting(locks) < count:  # noqa: ASYNC110 - the pulls don't tell
            await trio.sleep(0.01)


def _waiting(puller: object) -> int:
    keyed = [puller._images, puller._documents_lock, puller.pipeline._blobs]  # type: ignore[attr-defined]
    return sum(max(0, entry.users - 1) for lock in keyed for entry in lock._entries.values())


@pytest.mark.parametrize("namespaces", [("one", "one", "one"), ("one", "two", "three")], ids=["one", "three"])
async def test_three_pulls_bring_each_blob_once(
    agent: Agent, image: tuple[ImageLayout, str], namespaces: tuple[str, ...]
) -> None:
    gate = Gate()
    async with FaultyRegistry(*image, {"layer": [gate]}).serving() as registry:
        async with trio.open_nursery() as nursery:
            for namespace in namespaces:
                nursery.start_soon(pull, agent, registry, namespace)
            await gate.reached.wait()
            await until_waiting(agent, 2)
            gate.open.set()
        assert each_once(registry)
        for namespace in set(namespaces):
            assert (await agent.services.images.get(namespace, registry.reference)).unpacked


async def test_two_images_with_a_layer_in_common_bring_it_once(agent: Agent, tmp_path: Path) -> None:
    layout = ImageLayout(tmp_path / "layout")
    base = LayerBuilder().file("base", b"b" * 100_000).layer()
    digests = [
        layout.tag(name, layout.add_image([base, LayerBuilder().file(name, name).layer()], {"Cmd": [name]}))
        for name in ("one", "two")
    ]
    gate = Gate()
    async with (
        FaultyRegistry(layout, digests[0], {"layer": [gate]}).serving() as one,
        FaultyRegistry(layout, digests[1]).serving() as two,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(pull, agent, one)
        await gate.reached.wait()
        nursery.start_soon(pull, agent, two)
        await until_waiting(agent, 1)
        gate.open.set()
    assert len(one.asked("layer")) + len(two.asked("layer")) == 1
    assert len(two.asked("rest")) == 1
    await check_sound(agent)


async def test_a_blob_knows_all_its_repositories(agent: Agent, image: tuple[ImageLayout, str]) -> None:
    """Also those that it was found in when it was here already: pushes mount it from there."""
    async with FaultyRegistry(*image).serving() as registry:
        await pull(agent, registry)
        other = registry.reference.replace("team/app", "other/app")
        await agent.services.images.put("default", ImageDesired(other))
        key = f"containerd.io/distribution.source.{registry.server.address}"
        blobs = await agent.workers.content.list("default")
        assert [blob.labels.get(key) for blob in blobs] == ["other/app,team/app"] * 4
        assert not [line for line in registry.server.lines() if "/other/app/blobs/" in line]


@pytest.mark.parametrize("namespace", ["one", "two"], ids=["same-namespace", "another-namespace"])
async def test_who_leaves_takes_nobody_along(
    agent: Agent, image: tuple[ImageLayout, str], namespace: str
) -> None:
    """The pull that did the work is cancelled: the one that waited does what is left."""
    gate = Gate()
    async with FaultyRegistry(*image, {"layer": [gate]}).serving() as registry:
        async with trio.open_nursery() as nursery:
            first = trio.CancelScope()
            nursery.start_soon(_within, first, agent, registry)
            await gate.reached.wait()
            nursery.start_soon(pull, agent, registry, namespace)
            await until_waiting(agent, 1)
            first.cancel()
        view = await agent.services.images.get(namespace, registry.reference)
        assert view.unpacked
        resumed = registry.offsets()[1:]
        assert len(resumed) == 1
        assert (resumed[0] > 0) == (namespace == "one")  # an ingest is its namespace's


async def _within(scope: trio.CancelScope, agent: Agent, registry: FaultyRegistry) -> None:
    with scope:
        await pull(agent, registry, "one")


async def test_who_waits_and_leaves_changes_nothing(agent: Agent, image: tuple[ImageLayout, str]) -> None:
    gate = Gate()
    async with FaultyRegistry(*image, {"layer": [gate]}).serving() as registry:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pull, agent, registry)
            await gate.reached.wait()
            waiting = trio.CancelScope()
            nursery.start_soon(_within, waiting, agent, registry)
            await until_waiting(agent, 1)
            waiting.cancel()
            gate.open.set()
        assert each_once(registry)
        await check_whole(agent, registry)


async def test_a_failure_is_the_one_pulls_own(agent: Agent, image: tuple[ImageLayout, str]) -> None:
    """The second pull tries by itself what the first one failed at."""
    failed = trio.Event()

    async def fail(served: Served) -> None:
        await until_waiting(agent, 1)
        await cut(1000)(served)

    faults: list[Fault] = [fail, *[status(503)] * 4]

    async def first() -> None:
        with pytest.raises(Unavailable):
            await pull(agent, registry)
        failed.set()

    async with FaultyRegistry(*image, {"layer": faults}).serving() as registry:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            with trio.fail_after(30):
                while not registry.asked("layer"):  # noqa: ASYNC110 - the registry doesn't tell
                    await trio.sleep(0.01)
            nursery.start_soon(pull, agent, registry)
        assert failed.is_set()
        await check_whole(agent, registry)
        assert registry.offsets()[-1] == 1000
