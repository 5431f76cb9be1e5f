"""`tricorn commit`, `snapshot diff`, and `image convert`, `referrers`, `check`, `usage`, `label`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

DIGEST = "sha256:" + "a" * 64
MADE = {"reference": "docker.io/library/a:1", "digest": DIGEST, "warnings": ["something is left out"]}
COMMIT = "POST /v1/default/containers/web/commit"
CONVERT = "POST /v1/default/images/redis%3A7/convert"
REFERRERS = "/v1/default/images/redis%3A7/referrers"


def test_commit(agent: Any, tricorn: Any) -> None:
    agent.stream(COMMIT, {"result": MADE})
    words = ("-a", "me", "-m", "why", "-c", "ENV A=1", "-c", "USER x", "--no-pause", "--no-unpack")
    done = tricorn("commit", *words, "--compression", "zstd", "--timestamp", "60", "web", "a:1")
    assert done.out == f"{MADE['reference']}@{DIGEST}\n"
    assert "left out" in done.err
    assert agent.body(COMMIT) == {
        "reference": "a:1", "author": "me", "message": "why", "changes": ["ENV A=1", "USER x"], "pause": False,
        "unpack": False, "compression": "zstd", "timestamp": "1970-01-01T00:01:00+00:00",
    }  # fmt: skip
    assert json.loads(tricorn("--json", "container", "commit", "-q", "web", "a:1").out) == MADE


@pytest.mark.parametrize("moment", ["x", "2026-01-31T12:00:00", "9" * 30])
def test_commit_at_no_time(tricorn: Any, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    done = tricorn("commit", "--timestamp", moment, "web", "a:1")
    assert (done.status, "is no time" in done.err) == (2, True)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", moment)
    assert tricorn("commit", "web", "a:1").status == 2


def test_convert(agent: Any, tricorn: Any) -> None:
    agent.stream(CONVERT, {"result": MADE})
    done = tricorn(
        "image", "convert", "--oci", "--compression", "none", "--platform", "arm64", "redis:7", "a:1"
    )
    assert done.out == f"{MADE['reference']}@{DIGEST}\n"
    assert agent.body(CONVERT) == {
        "reference": "a:1", "form": "oci", "compression": "none", "platforms": ["arm64"]
    }  # fmt: skip
    assert tricorn("image", "convert", "--oci", "--docker", "redis:7", "a:1").status == 2


def test_referrers(agent: Any, tricorn: Any) -> None:
    one = {"digest": DIGEST, "media_type": "m", "size": 5, "artifact_type": "application/x", "present": True}
    agent.answer(f"POST {REFERRERS}", {"subject": DIGEST, "referrers": [one]})
    agent.answer(f"GET {REFERRERS}?type=application%2Fx", {"subject": DIGEST, "referrers": []})
    done = tricorn("image", "referrers", "--fetch", "--plain-http", "redis:7")
    assert done.out.splitlines()[1].split() == ["aaaaaaaaaaaa", "application/x", "5", "B", "yes"]
    assert agent.body(f"POST {REFERRERS}") == {"fetch": True, "plain_http": True}
    assert tricorn("image", "referrers", "--local", "--type", "application/x", "redis:7").status == 0
    assert tricorn("image", "referrers", "--local", "--fetch", "redis:7").status == 2


def test_pull_with_referrers(agent: Any, tricorn: Any) -> None:
    agent.stream("PUT /v1/default/images", {"result": {"after": {"name": "redis:7", "digest": DIGEST}}})
    agent.stream(f"POST {REFERRERS}", {"result": {"subject": DIGEST, "referrers": []}})
    assert tricorn("image", "pull", "-q", "--with-referrers", "--plain-http", "redis:7").status == 0
    assert agent.body(f"POST {REFERRERS}") == {"fetch": True, "plain_http": True}


def test_check(agent: Any, tricorn: Any) -> None:
    missing = {"digest": DIGEST, "size": 5, "media_type": "m", "state": "lost"}
    item = {"name": "a:1", "complete": False, "blobs": 3, "present": 2, "size": 9, "present_size": 4,
            "missing": [missing], "unpacked": ["overlayfs"], "problem": "odd"}  # fmt: skip
    agent.listed("GET /v1/default/image-check?name=a%3A1&all_platforms=true", item)
    done = tricorn("image", "check", "--all-platforms", "a:1")
    assert done.status == 8
    assert done.out.splitlines()[1].split() == ["a:1", "incomplete", "2/3", "4", "B/9", "B", "overlayfs"]
    assert f"a:1: lost {DIGEST} (5 B)" in done.err
    assert "odd" in done.err
    agent.listed("GET /v1/default/image-check", {**item, "complete": True, "missing": [], "problem": ""})
    assert tricorn("image", "check").status == 0
    assert tricorn("image", "check", "--all-platforms", "--platform", "arm64").status == 2


def test_usage(agent: Any, tricorn: Any) -> None:
    one = {"name": "a:1", "content": 9, "content_unique": 1, "snapshots": 8, "snapshots_unique": 0}
    agent.answer("GET /v1/default/image-usage", {"images": [one], "content": 9, "snapshots": 8})
    lines = tricorn("image", "usage").out.splitlines()
    assert lines[1].split() == ["a:1", "9", "B", "1", "B", "8", "B", "0", "B"]
    assert lines[2].startswith("together")


def test_label(agent: Any, tricorn: Any) -> None:
    line = "PATCH /v1/default/images/redis%3A7"
    agent.answer(line, {"name": "redis:7", "labels": {"b": "2", "a": "1"}})
    assert tricorn("image", "label", "--expire", "never", "redis:7", "a=1", "c=").out == "a=1\nb=2\n"
    assert agent.body(line) == {"labels": {"a": "1", "c": "", "containerd.io/gc.expire": ""}}
    assert tricorn("image", "label", "redis:7").status == 2


def test_snapshot_diff(agent: Any, tricorn: Any, tmp_path: Path) -> None:
    line = "POST /v1/default/snapshots/overlayfs/web/diff"
    agent.raw(line, b"layer")
    path = tmp_path / "layer.tar"
    words = (
        "snapshot",
        "diff",
        "--snapshotter",
        "overlayfs",
        "-o",
        str(path),
        "--compression",
        "none",
        "web",
        "",
    )
    assert tricorn(*words).status == 0
    assert path.read_bytes() == b"layer"
    assert agent.body(line) == {"compression": "none", "parent": ""}
