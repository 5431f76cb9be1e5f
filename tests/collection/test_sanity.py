"""The collection passes the checks that ansible-test has for every collection."""

from __future__ import annotations

import subprocess

import pytest

from tricorn_testing.ansible_plays import PROJECT

MINUTES = 15


@pytest.mark.sanity
@pytest.mark.slow
def test_sanity_of_the_collection() -> None:
    done = subprocess.run(
        [PROJECT / "tools/ansible_sanity.sh"],
        check=False, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=60 * MINUTES,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:]
