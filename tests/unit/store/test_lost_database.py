"""A lost database: an agent doesn't take what it knew for rubbish."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tricorn.agent_command import cli
from tricorn.errors import FailedPrecondition
from tricorn.store.connection import database_path
from tricorn.store.lost_database import forget, refuse_if_lost
from tricorn.store.schema_copies import fit_of

FILES = {
    "blobs": "content/blobs/sha256/" + "0" * 64,
    "snapshots": "snapshots/overlay/snapshots/1/fs",
    "containers": "containers/default/web",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What an agent leaves that has made nothing yet, without its database."""
    for directory in ("db", "containers", "snapshots/overlay/snapshots", "content/blobs/sha256"):
        (tmp_path / directory).mkdir(parents=True)
    return tmp_path


def empty(root: Path) -> None:
    Path(database_path(str(root))).touch()


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("emptied", [False, True])
def test_what_is_there_is_named_and_kept(root: Path, kind: str, emptied: bool) -> None:
    (root / FILES[kind]).mkdir(parents=True)
    if emptied:
        empty(root)
    with pytest.raises(FailedPrecondition, match="empty" if emptied else "missing") as caught:
        refuse_if_lost(str(root))
    assert f"has {kind}," in caught.value.why
    assert "state forget" in caught.value.hint
    assert (root / FILES[kind]).exists()


def test_a_root_without_anything_begins_with_a_new_one(root: Path, tmp_path: Path) -> None:
    refuse_if_lost(str(root))
    empty(root)  # made, and killed before it was filled
    refuse_if_lost(str(root))
    refuse_if_lost(str(tmp_path / "nothing"))


def test_a_database_is_enough(root: Path) -> None:
    (root / FILES["blobs"]).mkdir()
    assert forget(str(root))
    refuse_if_lost(str(root))
    assert not forget(str(root))


def test_what_is_forgotten_is_said(root: Path) -> None:
    (root / FILES["blobs"]).mkdir()
    path = database_path(str(root))
    Path(f"{path}-wal").write_bytes(b"of the lost one")
    first, again = (CliRunner().invoke(cli, ["--root", str(root), "state", "forget"]) for _ in range(2))
    assert first.output.startswith("there is a new database")
    assert again.output == "there is a database: nothing is forgotten\n"
    assert fit_of(path).found == fit_of(path).known
    assert os.listdir(root / "db") == ["tricorn.db"]
