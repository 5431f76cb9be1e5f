"""Pulls with an agent in the test's own process, from registries that the test runs; and what to look at."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

import tricorn.assembly.workers
from tricorn.app import Agent, open_agent
from tricorn.config import Config, RegistryConfig
from tricorn.model.requests import ImageDesired
from tricorn.registry.client import RegistryClient
from tricorn.registry.pacing import Pacing
from tricorn_testing.faulty_registry import FaultyRegistry
from tricorn_testing.images import ImageLayout, LayerBuilder

QUICK = Pacing(
    connect=20.0, stall=20.0, slowest=1000, backoff_first=0.001, backoff_max=0.02, attempts=4, resumes=20
)


def noisy_layout(directory: Path) -> tuple[ImageLayout, str]:
    """Make an image of two layers, the first of several buffers of the network; return its digest, too."""
    layout = ImageLayout(directory / "layout")
    noise = random.Random(4).randbytes(2_500_000)
    layers = [
        LayerBuilder().file("noise", noise).layer(),
        LayerBuilder().file("etc/small", "x").layer("zstd"),
    ]
    return layout, layout.tag("whole", layout.add_image(layers, {"Cmd": ["x"]}))


@asynccontextmanager
async def opened(
    directory: Path, monkeypatch: pytest.MonkeyPatch, pacing: Pacing = QUICK
) -> AsyncIterator[Agent]:
    """An agent in this process whose registry client has this patience."""
    monkeypatch.setattr(tricorn.assembly.workers, "RegistryClient", partial(RegistryClient, pacing=pacing))
    for name in ("root", "state"):
        (directory / name).mkdir(exist_ok=True)
    config = Config(
        root=str(directory / "root"), state=str(directory / "state"), cgroup=f"/{directory.name}",
        registry=RegistryConfig(hosts_dir=str(directory / "hosts.d")),
    )  # fmt: skip
    async with open_agent(config, dict(os.environ)) as agent:
        yield agent


async def pull(agent: Agent, registry: FaultyRegistry, namespace: str = "default") -> None:
    with trio.fail_after(60):
        await agent.services.images.put(namespace, ImageDesired(registry.reference))


def found(agent: Agent, *patterns: str) -> list[Path]:
    """Return the files below the agent's root that match."""
    root = Path(agent.config.root)
    return [path for pattern in patterns for path in root.glob(pattern)]


async def check_sound(agent: Agent) -> None:
    """Every blob is what its name says, and every directory of a layer has a record."""
    for blob in found(agent, "content/blobs/sha256/*"):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    recorded = await agent.services.snapshots.list("default", "overlayfs")
    assert len(found(agent, "snapshots/overlayfs/snapshots/*")) == len(recorded)


async def check_whole(agent: Agent, registry: FaultyRegistry) -> None:
    """The image is here and unpacked, and what it doesn't need is gone with a collection."""
    await agent.services.gc.collect(dry_run=False)
    await check_sound(agent)
    view = await agent.services.images.get("default", registry.reference)
    assert view.unpacked
    assert len(view.layers) == 2
    assert not await agent.workers.content.statuses("default")
    assert not found(agent, "content/ingests/*")
