"""What is handed out is whole, holds nothing else, and can be installed without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tricorn
from tricorn_testing.ansible_plays import COLLECTION, PROJECT
from tricorn_testing.releases import Release

HOME = "collections/ansible_containerd/"
IN_WHEEL = "ansible_collections/tricorn/containerd/"
MODULES = {f"{COLLECTION}.{path.stem}" for path in (PROJECT / HOME / "plugins/modules").glob("[!_]*.py")}
LEFT_OUT = ("tests/", "changelogs/fragments/")


def run(*command: str | Path, **environment: str) -> str:
    """Return what a command prints, run where no checkout is."""
    done = subprocess.run(
        command, cwd="/", env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources(directory: str) -> Iterator[str]:
    """Yield the files of a directory of the checkout, from there, that belong to the project."""
    if not (PROJECT / ".git").exists():
        pytest.skip("no checkout: only git knows what belongs to the project")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", directory]
    listed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            yield name.removeprefix(directory)


def of_collection() -> set[str]:
    return {name for name in sources(HOME) if not name.startswith(LEFT_OUT)}


def modules_that_ansible_finds(python: Path, collections: Path) -> set[str]:
    listed = run(
        python, "-m", "ansible.cli.doc", "--list", "--type", "module", COLLECTION,
        ANSIBLE_COLLECTIONS_PATH=str(collections), ANSIBLE_HOME=str(collections / "home"),
    )  # fmt: skip
    return {line.split()[0] for line in listed.splitlines() if line.startswith(COLLECTION)}


def test_the_sums_are_right(release: Release) -> None:
    told = run("sh", "-c", f"cd {release.directory} && sha256sum --check --strict SHA256SUMS")
    assert told.splitlines() == [f"./{path.name}: OK" for path in (release.wheel, release.archive)]


def test_the_wheel_holds_agent_and_collection_and_nothing_else(release: Release) -> None:
    with zipfile.ZipFile(release.wheel) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = {f"tricorn/{name}" for name in sources("agent/tricorn/")}
    assert found == wanted | {IN_WHEEL + name for name in of_collection()}


def test_the_archive_holds_the_collection_and_nothing_else(release: Release) -> None:
    with tarfile.open(release.archive) as archive:
        found = {member.name for member in archive if member.isfile()}
    assert found - {"MANIFEST.json", "FILES.json"} == of_collection() - {"galaxy.yml"}


def test_the_wheel_serves_from_an_empty_environment(release: Release, tmp_path: Path) -> None:
    """All but the dependencies come from the wheel: ansible finds the collection where Python finds the agent."""
    place = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", place)
    python = place / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "-q", "--no-deps", "--no-index", release.wheel)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    assert run(place / "bin/tricorn", "--version").split()[-1] == tricorn.__version__
    assert "--config" in run(place / "bin/tricornd", "--help")
    assert run(python, "-c", "import tricorn; print(tricorn.__file__)").startswith(f"{packages}/")
    assert modules_that_ansible_finds(python, tmp_path) == MODULES
    shown = run(
        python, "-m", "ansible.cli.doc", "--json", f"{COLLECTION}.container", ANSIBLE_COLLECTIONS_PATH="/x"
    )
    assert f"{packages}/{IN_WHEEL}plugins/modules/container.py" in shown


def test_the_archive_is_installed_offline(release: Release, tmp_path: Path) -> None:
    galaxy = [sys.executable, "-m", "ansible.cli.galaxy", "collection"]
    home = {"ANSIBLE_HOME": str(tmp_path / "home")}
    run(*galaxy, "install", "--offline", "-p", tmp_path / "collections", release.archive, **home)
    assert "tricorn.containerd" in run(*galaxy, "verify", "--offline", "-p", tmp_path / "collections", COLLECTION,
                                       ANSIBLE_COLLECTIONS_PATH=str(tmp_path / "collections"), **home)  # fmt: skip
    assert modules_that_ansible_finds(Path(sys.executable), tmp_path / "collections") == MODULES
