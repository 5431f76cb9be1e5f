"""External verifiers: containerd's calling convention, and what of theirs is not believed."""

# ruff: noqa: ASYNC240 - a test may touch the disk itself

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tricorn import limits
from tricorn.errors import FailedPrecondition
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_MANIFEST, Descriptor
from tricorn.rules.policy import VerifierDirectory
from tricorn.runtime.verifiers import Judgement, Verifiers

NAME = "registry.example/app:1"
TARGET = Descriptor(OCI_MANIFEST, Digest.of(b"manifest"), 8)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "verifiers"
    made.mkdir(mode=0o755)
    return made


def program(directory: Path, name: str, script: str, mode: int = 0o755) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return path


async def judge(directory: Path, *, deadline: float = 30.0, most: int = 10) -> list[Judgement]:
    verifiers = Verifiers({"PATH": os.environ["PATH"], "SECRET_TOKEN": "x", "HTTPS_PROXY": "http://proxy"})
    return await verifiers.judge(VerifierDirectory(str(directory), deadline, most), NAME, TARGET)


async def test_each_program_is_told_of_the_image_as_containerd_does_it(
    directory: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    program(directory, "a", f'printf "%s\\n" "$@" > {out}; cat >> {out}; echo fine')
    assert await judge(directory) == [Judgement("a", accepted=True, reason="fine")]
    *arguments, stdin = out.read_text().split("\n")
    assert arguments == [
        "-name", NAME, "-digest", str(TARGET.digest),
        "-stdin-media-type", "application/vnd.oci.descriptor.v1+json",
    ]  # fmt: skip
    assert json.loads(stdin) == {"mediaType": OCI_MANIFEST, "digest": str(TARGET.digest), "size": 8}


async def test_all_must_accept_and_the_first_refusal_ends_it(directory: Path, tmp_path: Path) -> None:
    program(directory, "a", "echo yes")
    program(directory, "b", "echo 'no, never'; exit 3")
    program(directory, "c", f"touch {tmp_path}/asked")
    assert await judge(directory) == [
        Judgement("a", accepted=True, reason="yes"),
        Judgement("b", accepted=False, reason="no, never"),
    ]
    assert not (tmp_path / "asked").exists()


async def test_programs_get_paths_and_proxies_and_nothing_else_of_the_environment(directory: Path) -> None:
    program(directory, "a", 'echo "${SECRET_TOKEN:-none} $HTTPS_PROXY"; ls /proc/self/fd | wc -l >&2')
    assert (await judge(directory))[0].reason == "none http://proxy"


async def test_output_is_bounded_and_made_one_line(directory: Path) -> None:
    program(directory, "a", "printf '\\033[31mred\\nline'; yes | head -c 3000000; yes | head -c 3000000 >&2")
    (judgement,) = await judge(directory)
    assert judgement.accepted
    assert judgement.reason.startswith("[31mred line")
    assert len(judgement.reason) <= limits.VERIFIER_OUTPUT


async def test_one_that_does_not_end_is_killed_with_its_children(directory: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program(directory, "a", f"sleep 300 & echo $! > {pids}.part; mv {pids}.part {pids}; wait")
    (judgement,) = await judge(directory, deadline=1.0)
    assert (judgement.accepted, judgement.reason) == (False, "no answer within 1 s")
    await _gone(int(pids.read_text()))


async def test_a_child_that_is_left_behind_holds_nothing_up(directory: Path, tmp_path: Path) -> None:
    program(directory, "a", f"sleep 300 & echo $! > {tmp_path}/pid; echo ok")
    assert await judge(directory) == [Judgement("a", accepted=True, reason="ok")]
    await _gone(int((tmp_path / "pid").read_text()))


async def _gone(pid: int) -> None:
    import trio

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        await trio.sleep(0.02)
    raise AssertionError(f"{pid} is still there")


async def test_what_cannot_be_trusted_refuses(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="at least one"):
        await judge(directory)
    with pytest.raises(FailedPrecondition, match="can't be used"):
        await judge(tmp_path / "missing")
    for name in ("a", "b"):
        program(directory, name, "exit 0")
    with pytest.raises(FailedPrecondition, match="2 verifiers"):
        await judge(directory, most=1)
    (directory / "a").chmod(0o777)
    with pytest.raises(FailedPrecondition, match="can't be trusted"):
        await judge(directory)
    (directory / "a").chmod(0o644)
    with pytest.raises(FailedPrecondition, match="is no verifier"):
        await judge(directory)
    (directory / "a").chmod(0o755)
    directory.chmod(0o777)
    with pytest.raises(FailedPrecondition, match="can't be trusted"):
        await judge(directory)


async def test_what_is_no_program_refuses(directory: Path) -> None:
    (directory / "a").write_bytes(b"\x7fELF nothing")
    (directory / "a").chmod(0o755)
    with pytest.raises(FailedPrecondition, match="can't start"):
        await judge(directory)
