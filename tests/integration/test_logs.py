"""Logs that are rotated, bounded and followed, with a real monitor writing them."""

# ruff: noqa: ASYNC110, ASYNC240 - tests look at files directly, and wait by looking again

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from tricorn.runtime import logs
from tricorn_testing.containers import Node, running_node

pytestmark = [pytest.mark.integration, pytest.mark.root]


@pytest.fixture
async def node(short_path: Path) -> AsyncIterator[Node]:
    name = "crun" if shutil.which("crun") else "runc"
    async with running_node(short_path, name) as running:
        yield running


async def read(node: Node, ref, **options) -> list[str]:
    return [line.text async for line in node.runtime.logs(ref, **options)]


async def test_a_rotation_that_was_cut_short_is_completed(node):
    """An agent that is killed between the renaming and the reopening must not leave a log without bound."""
    ref, created = await node.start("sh", "-c", "echo one; read x; echo two", stdin=True)
    with trio.fail_after(30):
        while not await read(node, ref):
            await trio.sleep(0.01)
        logs.rotate(ref.log, 3)  # what a killed agent has done
        assert await node.runtime.rotate_logs(ref)
        assert os.path.exists(ref.log)
        async with node.runtime.attach(ref) as stream:
            await stream.send(b"go\n")
        await node.runtime.wait(ref, created)
    assert await read(node, ref) == ["one", "two"]
    assert b"two" in Path(ref.log).read_bytes()


async def test_until_ends_what_is_followed_and_what_is_read(node):
    ref, _ = await node.start("sh", "-c", "echo first; sleep 1000")
    with trio.fail_after(30):
        while not await read(node, ref):
            await trio.sleep(0.01)
        soon = datetime.now(UTC) + timedelta(seconds=0.2)
        assert await read(node, ref, follow=True, until=soon) == ["first"]
        assert await read(node, ref, until=soon - timedelta(hours=1)) == []


async def test_a_long_line_is_one_line_however_it_was_written(node):
    """The monitor writes it in parts; a pause between two writes makes no difference either."""
    script = "yes | tr -d '\\n' | head -c 50000; printf ' and'; sleep 0.2; echo ' on'; echo next"
    ref, created = await node.start("sh", "-c", script)
    await node.runtime.wait(ref, created)
    assert await read(node, ref) == ["y" * 50000 + " and on", "next"]
    assert await read(node, ref, tail=2) == ["y" * 50000 + " and on", "next"]
