"""Compiled filters: for which configs they are kept and given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tricorn.runtime.seccomp_cache import ANNOTATION, SeccompCache

PROGRAM = "/bin/sh"
FILTER = bytes(range(16))


def config(**seccomp: Any) -> dict[str, Any]:
    return {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [], **seccomp}}}


def learned(tmp_path: Path, cache: SeccompCache, wanted: dict[str, Any]) -> str:
    (tmp_path / "seccomp.bpf").write_bytes(FILTER)
    key = cache.key(PROGRAM, wanted)
    cache.learn(key, str(tmp_path))
    return key


def test_gives_what_it_learned_for_the_same_profile(tmp_path: Path) -> None:
    cache = SeccompCache()
    assert not cache.apply(cache.key(PROGRAM, config()), config())
    learned(tmp_path, cache, config())
    given = {**config(), "annotations": {"mine": "kept"}}
    assert cache.apply(cache.key(PROGRAM, given), given)
    assert given["annotations"] == {"mine": "kept", ANNOTATION: "AAECAwQFBgcICQoLDA0ODw=="}


def test_another_profile_or_program_is_another_filter(tmp_path: Path) -> None:
    cache = SeccompCache()
    key = learned(tmp_path, cache, config())
    other = config(syscalls=[{"names": ["ptrace"], "action": "SCMP_ACT_ALLOW"}])
    assert key != cache.key(PROGRAM, other)
    assert key != cache.key("/bin/ls", config())


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"linux": None},
        {"linux": {"seccomp": None}},
        {**config(), "annotations": {ANNOTATION: "mine"}},
        {**config(), "annotations": {"run.oci.seccomp.receiver": "/socket"}},
        config(listenerPath="/run/listener"),
        config(syscalls=[{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]),
    ],
)
def test_leaves_alone_what_needs_more_than_a_filter(wanted: dict[str, Any]) -> None:
    assert SeccompCache().key(PROGRAM, wanted) == ""


def test_a_program_that_is_gone_has_no_filter() -> None:
    assert SeccompCache().key("/nonexistent/crun", config()) == ""


@pytest.mark.parametrize("content", [b"", b"1234567", bytes(8 * 4097)], ids=["empty", "cut", "too long"])
def test_takes_no_file_that_cannot_be_a_filter(tmp_path: Path, content: bytes) -> None:
    cache = SeccompCache()
    (tmp_path / "seccomp.bpf").write_bytes(content)
    cache.learn("key", str(tmp_path))
    assert not cache.apply("key", {})


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    cache = SeccompCache(size=2)
    (tmp_path / "seccomp.bpf").write_bytes(FILTER)
    for key in ("a", "b"):
        cache.learn(key, str(tmp_path))
    assert cache.apply("a", {})
    cache.learn("c", str(tmp_path))
    assert [cache.apply(key, {}) for key in "abc"] == [True, False, True]


def test_a_runtime_that_leaves_none_teaches_nothing(tmp_path: Path) -> None:
    cache = SeccompCache()
    cache.learn("key", str(tmp_path))
    assert not cache.apply("key", {})
