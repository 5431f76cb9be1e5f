"""The collection's changelog: `make changelog` makes it of the fragments, for people, too."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
NOTE = "container - nobody has ever written this line."


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the collection, where Ansible looks for collections."""
    target = tmp_path / "ansible_collections/tricorn/containerd"
    left_out = shutil.ignore_patterns("__pycache__", "tests", ".plugin-cache.yaml")
    shutil.copytree(PROJECT / "collections/ansible_containerd", target, ignore=left_out)
    return target


def write(copy: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROJECT / "tools/changelog.sh", copy], check=False, capture_output=True, text=True, timeout=300
    )


def fragment(copy: Path, name: str, content: dict[str, object]) -> None:
    (copy / f"changelogs/fragments/{name}.yml").write_text(f"---\n{yaml.safe_dump(content)}")


def test_fragments_become_a_changelog(copy: Path) -> None:
    fragment(copy, "later", {"minor_changes": [NOTE]})
    done = write(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (copy / "CHANGELOG.rst").read_text()
    assert NOTE in text
    assert "Release Summary" in text
    for each in (copy / "plugins/modules").glob("[!_]*.py"):
        assert f"- tricorn.containerd.{each.stem} - " in text, each.stem
    for each in (copy / "roles").iterdir():
        assert f"- tricorn.containerd.{each.name} - " in text, each.name
    assert not list((copy / "changelogs/fragments").glob("*.yml")), "they are in changelog.yaml now"


def test_a_release_has_one_summary(copy: Path) -> None:
    version = yaml.safe_load((copy / "galaxy.yml").read_text())["version"]
    fragment(copy, "one-more", {"release_summary": "Another one."})
    done = write(copy)
    assert (done.returncode, f"release {version} has 2 summaries" in done.stderr) == (1, True)
