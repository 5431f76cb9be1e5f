"""The commands on what is not a container: what they request, and what they print for people and programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tricorn.errors import NotFound

Run = Callable[..., Any]
# Shown to the hour: a long session must not reach the next one.
AGO = (datetime.now(UTC) - timedelta(days=2, hours=5, minutes=15)).isoformat()
DIGEST = "sha256:" + "ab" * 32


def event(sequence: int) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "timestamp": AGO,
        "namespace": "default",
        "topic": "/tasks/exit",
        "event": {"id": "web"},
    }


def test_events_pages(agent: Any, tricorn: Run) -> None:
    agent.answer("GET /v1/default/events?since=0", {"items": [event(1), event(2)], "cursor": 2, "lost": 0})
    agent.answer("GET /v1/default/events?since=2", {"items": [event(3)], "cursor": 3, "lost": 0})
    agent.answer("GET /v1/default/events?since=3", {"items": [], "cursor": 3, "lost": 0})
    assert [line.split()[0] for line in tricorn("events").out.splitlines()] == ["1", "2", "3"]
    assert [item["sequence"] for item in tricorn("--json", "events").json] == [1, 2, 3]


def test_events_follow(agent: Any, tricorn: Run) -> None:
    line = "GET /v1/events?since=7&follow=true&filter=topic%3D%3D%2Ftasks%2Fexit"
    agent.stream(line, {"lost": 4}, event(12))
    outcome = tricorn("events", "-f", "-A", "--since", "7", "--filter", "topic==/tasks/exit")
    assert outcome.out == f"12 {AGO} default /tasks/exit id=web\n"
    assert outcome.err == "tricorn: 4 events are no longer kept\n"


# ---------------------------------------------------------------- images
def test_image_ls(agent: Any, tricorn: Run) -> None:
    item = {
        "name": "docker.io/library/a:1",
        "digest": DIGEST,
        "size": 5 * 1024**2,
        "platform": "linux/amd64",
        "updated_at": AGO,
    }
    agent.listed("GET /v1/default/images", item)
    rows = tricorn("image", "ls").out.splitlines()
    assert rows[1].split() == ["docker.io/library/a:1", "abababababab", "linux/amd64", "5.0", "MiB", "2d5h"]
    assert DIGEST in tricorn("image", "ls", "--no-trunc").out
    assert tricorn("image", "ls", "-q").out == "docker.io/library/a:1\n"
    assert tricorn("--json", "image", "ls").json == [item]


def test_image_rm_and_inspect(agent: Any, tricorn: Run) -> None:
    agent.answer("DELETE /v1/default/images/a%3A1?sync=true", {"changed": True})
    agent.answer("GET /v1/default/images/a%3A1", {"name": "a:1"})
    assert tricorn("image", "rm", "--sync", "a:1").out == "a:1\n"
    assert tricorn("image", "inspect", "a:1").json == {"name": "a:1"}


# ---------------------------------------------------------------- the rest
def test_namespaces(agent: Any, tricorn: Run) -> None:
    agent.listed("GET /v1/namespaces", {"name": "build", "labels": {"owner": "ci"}, "created_at": AGO})
    agent.answer("PUT /v1/namespaces/build", {"changed": True})
    agent.answer("PATCH /v1/namespaces/build", {"name": "build"})
    agent.answer("DELETE /v1/namespaces/build", {"changed": True})
    assert tricorn("namespace", "ls").out.splitlines()[1].split() == ["build", "2d5h", "owner=ci"]
    assert tricorn("namespace", "create", "build", "-l", "owner=ci").out == "build\n"
    assert agent.body("PUT /v1/namespaces/build") == {"labels": {"owner": "ci"}}
    assert tricorn("namespace", "label", "build", "owner=", "x=y").status == 0
    assert agent.body("PATCH /v1/namespaces/build") == {"labels": {"owner": "", "x": "y"}}
    assert tricorn("namespace", "rm", "build").out == "build\n"


def test_content(agent: Any, tricorn: Run) -> None:
    path = f"/v1/default/content/{DIGEST.replace(':', '%3A')}"
    agent.listed(
        "GET /v1/default/content", {"digest": DIGEST, "size": 10, "labels": {"a": "b"}, "created_at": AGO}
    )
    agent.answer(f"DELETE {path}", None)
    agent.raw(f"GET {path}/data", b"blob\x00bytes")
    assert tricorn("content", "ls").out.splitlines()[1].split() == [DIGEST, "10", "B", "2d5h"]
    assert tricorn("content", "ls", "--no-trunc").out.splitlines()[1].split()[-1] == "a=b"
    assert tricorn("content", "get", DIGEST).out == "blob\x00bytes"
    after = {"digest": DIGEST, "size": 10, "labels": {"a": "b", "team": "web"}}
    agent.answer(f"PUT {path}", {"changed": True, "before": {}, "after": after})
    assert tricorn("content", "label", DIGEST, "team=web", "old=").out == "a=b\nteam=web\n"
    assert agent.body(f"PUT {path}") == {"labels": {"team": "web", "old": ""}}
    assert tricorn("content", "rm", DIGEST).out == f"{DIGEST}\n"


def test_snapshots(agent: Any, tricorn: Run) -> None:
    item = {
        "snapshotter": "overlay",
        "key": "web",
        "kind": "active",
        "parent": DIGEST,
        "usage": {"size": 4096},
    }
    agent.listed("GET /v1/default/snapshots", item)
    agent.answer("DELETE /v1/default/snapshots/overlay/web", None)
    agent.answer("DELETE /v1/default/snapshots/native/web", None)
    assert tricorn("snapshot", "ls").out.splitlines()[1].split() == [
        "overlay",
        "web",
        "active",
        DIGEST[:23] + "…",
        "4.0",
        "KiB",
        "-",
    ]
    assert tricorn("snapshot", "rm", "web").status == 0
    assert tricorn("snapshot", "rm", "--snapshotter", "native", "web").status == 0
    assert tricorn("snapshot", "rm", "gone").status == NotFound.exit_status
    agent.listed("GET /v1/default/snapshots", item, {**item, "snapshotter": "native"})
    assert "exists in native, overlay" in tricorn("snapshot", "rm", "web").err


def test_leases(agent: Any, tricorn: Run) -> None:
    agent.listed(
        "GET /v1/default/leases",
        {"id": "l", "labels": {"containerd.io/gc.expire": "soon", "a": "b"}, "created_at": AGO},
    )
    agent.answer("POST /v1/default/leases", {"id": "l"}, 201)
    agent.answer("DELETE /v1/default/leases/l", None)
    assert tricorn("lease", "ls").out.splitlines()[1].split() == ["l", "2d5h", "soon", "a=b"]
    assert tricorn("lease", "create", "--id", "l", "--expire", "2h", "-l", "a=b").out == "l\n"
    assert agent.body("POST /v1/default/leases") == {
        "id": "l",
        "labels": {"a": "b"},
        "expire_seconds": 7200.0,
    }
    assert tricorn("lease", "rm", "l").out == "l\n"


def test_operations(agent: Any, tricorn: Run) -> None:
    running = {
        "id": "1",
        "kind": "pull",
        "object": "redis",
        "state": "running",
        "progress": {"phase": "fetch", "offset": 30, "total": 120},
    }
    failed = {"id": "2", "kind": "pull", "object": "x", "state": "failed", "error": {"detail": "no route"}}
    agent.listed("GET /v1/default/operations", running, failed)
    agent.answer("DELETE /v1/default/operations/1", None)
    rows = tricorn("operation", "ls").out.splitlines()
    assert rows[1].split() == ["1", "pull", "redis", "running", "fetch", "25", "%", "-"]
    assert "no route" in rows[2]
    assert tricorn("operation", "cancel", "1").out == "1\n"


def test_gc(agent: Any, tricorn: Run) -> None:
    report = {
        "dry_run": True,
        "removed": [{"namespace": "default", "type": "content", "key": DIGEST}],
        "bytes": 2048,
        "seconds": 0.04,
    }
    agent.answer("POST /v1/gc?dry_run=true", report)
    agent.answer("POST /v1/gc", {**report, "dry_run": False, "removed": []})
    agent.answer(
        "GET /v1/default/gc/explain?object=image%2Fa",
        {"object": "image/a", "kept": True, "chain": ["lease/x", "image/a"], "note": ""},
    )
    assert tricorn("gc", "--dry-run").out.splitlines()[-1] == "1 objects would be removed, 2.0 KiB, in 0.0 s"
    assert tricorn("gc").out.startswith("0 objects removed")
    assert tricorn("--json", "gc", "--dry-run").json == report
    assert tricorn("gc", "explain", "image/a").out.splitlines() == ["image/a: kept", "lease/x", "  └ image/a"]
    assert tricorn("gc", "--dry-run", "explain", "image/a").status == 0
    assert agent.lines.count("POST /v1/gc?dry_run=true") == 2


def test_info(agent: Any, tricorn: Run) -> None:
    document = {
        "version": "0.1.0",
        "namespaces": ["default"],
        "runtimes": [{"name": "crun", "path": "/usr/bin/crun", "features": ["+CRIU"]}],
        "statistics": {"tasks": 3},
    }
    agent.answer("GET /v1/info", document)
    assert tricorn("info").out.splitlines() == [
        "version: 0.1.0", "namespaces: default", "runtimes:", "  crun: path /usr/bin/crun, features +CRIU", "statistics:", "  tasks: 3",
    ]  # fmt: skip
    assert tricorn("--json", "info").json == document


def test_info_says_what_can_be_used_and_warns_line_by_line(agent: Any, tricorn: Run) -> None:
    runtime = {
        "name": "runc",
        "usable": True,
        "reason": "",
        "warnings": ["old", "very old"],
        "flavour": "runc",
    }
    missing = {"available": False, "reason": "no CRIU", "hint": "install it", "details": {}}
    agent.answer("GET /v1/info", {
        "runtimes": [{**runtime, "features": ["default"]}],
        "snapshotters": [{"name": "native", "usable": True, "default": False}],
        "capabilities": [
            {"name": "checkpoint", **missing},
            {"name": "cgroup", "available": True, "reason": "", "hint": "", "details": {"version": 1, "v2": []}},
        ],
    })  # fmt: skip
    assert tricorn("info").out.splitlines() == [
        "runtimes:", "  runc: yes, features default", "    warning: old", "    warning: very old",
        "snapshotters:", "  native: yes",
        "capabilities:", "  checkpoint: no, no CRIU, hint: install it", "  cgroup: yes, version 1",
    ]  # fmt: skip


def test_version(agent: Any, tricorn: Run) -> None:
    agent.answer("GET /v1/version", {"version": "9.9", "api": "1", "python": "3.11.7", "revision": ""})
    outcome = tricorn("version")
    assert outcome.out == "client  0.1.0\nserver  9.9 (api 1, python 3.11.7)\n"
    assert tricorn("--json", "version").json["server"]["version"] == "9.9"
