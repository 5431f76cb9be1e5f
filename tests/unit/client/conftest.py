"""A scripted agent, and a client that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tricorn.client import Client
from tricorn_testing.scripted_agent import Agent, running


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with running(tmp_path) as made:
        yield made


@pytest.fixture
async def client(agent: Agent) -> AsyncIterator[Client]:
    async with Client(agent.path) as made:
        yield made
