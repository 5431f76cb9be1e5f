"""What the conformance tests of the OCI runtimes share."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tricorn_testing.containers import Node, running_node


@pytest.fixture(params=["crun", "runc"])
async def node(request: pytest.FixtureRequest, short_path: Path) -> AsyncIterator[Node]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} isn't installed")
    async with running_node(short_path, request.param) as running:
        info = (await running.runtime.capabilities())[request.param]
        if not info.usable:
            pytest.skip(info.reason)
        yield running
