"""Lazy restores: where they can be, and what is known of one once nobody asks any more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tricorn.errors import FailedPrecondition, Unimplemented
from tricorn.model.checkpoints import RestorePlan
from tricorn.ports import CriuInfo
from tricorn.runtime import criu, lazy_pages, process
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.checkpoints import restore_arguments

ABLE = CriuInfo("/opt/criu", "4.2", usable=True, features=(criu.LAZY,))
ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.mark.parametrize(
    ("info", "flavour", "words"),
    [
        (CriuInfo("", reason="there is no criu"), "runc", "no criu"),
        (CriuInfo("/opt/criu", "4.2", usable=True), "runc", "lacks userfaultfd"),
        (ABLE, "crun", "only runc can"),
    ],
    ids=["criu", "kernel", "runtime"],
)
def test_what_is_missing_is_named(info: CriuInfo, flavour: str, words: str) -> None:
    with pytest.raises(Unimplemented) as caught:
        criu.need_lazy(info, "some", flavour)
    assert words in caught.value.why


def test_the_runtime_is_told() -> None:
    criu.need_lazy(ABLE, "runc", "runc")
    assert "--runtime-opt=--lazy-pages" in restore_arguments(RestorePlan("/dump", lazy=True))
    assert "--runtime-opt=--lazy-pages" not in restore_arguments(RestorePlan("/dump"))


def program(directory: Path, script: str) -> str:
    path = directory / "criu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


async def test_its_end_is_on_record(tmp_path: Path) -> None:
    bundle = Bundle(str(tmp_path), "some")
    assert lazy_pages.state(bundle) == ""
    for end, expected in (("exit 0", "done"), ("exit 1", "failed"), ("kill -9 $PPID", "failed")):
        await lazy_pages.start(bundle, program(tmp_path, f"printf '\\0' >&3; {end}"), "/dump", ENVIRONMENT)
        assert await lazy_pages.wait(bundle) == expected, end
        assert lazy_pages.state(bundle) == expected, end


async def test_one_that_is_stopped_is_gone(tmp_path: Path) -> None:
    bundle = Bundle(str(tmp_path), "some")
    await lazy_pages.start(bundle, program(tmp_path, "printf '\\0' >&3; sleep 1000"), "/dump", ENVIRONMENT)
    assert lazy_pages.state(bundle) == "serving"
    pid = int((tmp_path / lazy_pages.PROCESS).read_text().split()[0])
    lazy_pages.stop(bundle)
    identity = process.identify(pid)
    if identity:
        await process.wait_gone(identity)
        process.reap(pid)
    assert lazy_pages.state(bundle) == ""
    assert await lazy_pages.wait(bundle) == ""


async def test_one_that_never_gets_ready_tells_why(tmp_path: Path) -> None:
    bundle = Bundle(str(tmp_path), "some")
    words = "(00.1) Error (criu/uffd.c:1): uffd: no such thing"
    script = f"echo '{words}' >{tmp_path}/{lazy_pages.LOG}; exit 1"
    with pytest.raises(FailedPrecondition, match="can't be started") as caught:
        await lazy_pages.start(bundle, program(tmp_path, script), "/dump", ENVIRONMENT)
    assert "no such thing" in caught.value.why
    assert lazy_pages.state(bundle) == ""
