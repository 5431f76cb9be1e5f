"""A target directory, an outside that nothing may change, and mounts that go away."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tricorn import limits
from tricorn.fs import mounts, trees
from tricorn.fs.extraction import ExtractorPool
from tricorn_testing.tar_bytes import tree_state


@pytest.fixture(params=[0, limits.FILLED_BESIDE], ids=["filled beside", "alone"])
async def pool(request: pytest.FixtureRequest) -> AsyncIterator[ExtractorPool]:
    async with ExtractorPool(filled_beside=request.param, filled_after=0) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "inside" / "target"
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    yield directory
    parent = os.open(directory.parent, os.O_RDONLY)  # deeper than shutil.rmtree can remove, at times
    trees.remove_tree(parent, "target")
    os.close(parent)


@pytest.fixture
def outside(tmp_path: Path, target: Path) -> Iterator[Path]:
    """A tree next to the target, which nothing may change."""
    directory = tmp_path / "outside"
    (directory / "sub").mkdir(parents=True)
    (directory / "secret").write_text("secret")
    (directory / "sub" / "file").write_text("file")
    os.chmod(directory / "secret", 0o600)
    before = tree_state(directory)
    siblings = {*os.listdir(tmp_path), "blob"}
    yield directory
    assert tree_state(directory) == before
    assert {*os.listdir(tmp_path), "blob"} == siblings
    assert os.listdir(tmp_path / "inside") == ["target"]


@pytest.fixture
def mounted() -> Iterator[Callable]:
    """Mounts, and takes down what was mounted."""
    targets: list[str] = []

    def mount(items, target) -> Path:
        Path(target).mkdir(exist_ok=True)
        mounts.mount_all(items, str(target))
        targets.append(str(target))
        return Path(target)

    yield mount
    for target in reversed(targets):
        mounts.unmount(target, detach=True)
