from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from tricorn.cli.bars import Bars
from tricorn.cli.image import pull_request
from tricorn.cli.progress import LazyBars, PlainProgress
from tricorn.errors import DataLoss

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def layer(digest: str, phase: str, offset: int = 0, total: int = 2048, **more: Any) -> dict[str, Any]:
    return {"digest": digest, "kind": "layer", "phase": phase, "offset": offset, "total": total, **more}


def progress(phase: str, *layers: Any, **fields: Any) -> dict[str, Any]:
    return {"progress": {"operation": "1", "phase": phase, "objects": list(layers), **fields}}


CHANGE = {"changed": True, "actions": [], "after": {"name": "docker.io/library/a:latest", "digest": A}}


def test_plain_lines_when_piped(agent: Any, tricorn: Callable[..., Any]) -> None:
    agent.stream(
        "PUT /v1/default/images",
        progress("resolving", message="docker.io/library/a:latest"),
        progress("fetching", layer(A, "download", 10), layer(B, "skipped")),
        progress("fetching", layer(A, "download", 2048), layer(B, "skipped")),
        progress("fetching", layer(A, "unpack", 2048, unpacked=5), layer(B, "skipped")),
        progress("committing", layer(A, "done"), layer(B, "skipped")),
        {"result": CHANGE},
    )
    outcome = tricorn("image", "pull", "a")
    assert outcome.status == 0
    assert outcome.err.splitlines() == [
        "resolving: docker.io/library/a:latest",
        "layer bbbbbbbbbbbb: skipped (2.0 KiB)",
        "fetching",
        "layer aaaaaaaaaaaa: done (2.0 KiB)",
        "committing",
    ]
    assert outcome.out == f"docker.io/library/a:latest@{A}\n"
    assert agent.body("PUT /v1/default/images") == {"reference": "a", "pull": "missing"}
    assert tricorn("image", "pull", "-q", "a").err == ""
    assert tricorn("--json", "image", "pull", "-q", "a").json == CHANGE


def test_a_pull_that_fails(agent: Any, tricorn: Callable[..., Any]) -> None:
    agent.stream(
        "PUT /v1/default/images", progress("fetching"), {"error": DataLoss("digest mismatch").problem()}
    )
    outcome = tricorn("image", "pull", "a")
    assert (outcome.status, outcome.out, outcome.err) == (13, "", "fetching\ntricorn: digest mismatch\n")


def test_a_pull_that_the_agent_leaves_unfinished(agent: Any, tricorn: Callable[..., Any]) -> None:
    agent.stream("PUT /v1/default/images", progress("fetching"))
    assert tricorn("image", "pull", "a").status == 12


def test_credentials_come_from_stdin(agent: Any, spawn: Callable[..., Any]) -> None:
    agent.stream("PUT /v1/default/images", {"result": CHANGE})
    process = spawn(
        "image", "pull", "-q", "--username", "me", "--password-stdin", "--always", "--plain-http", "a"
    )
    process.communicate(b"secret word\n", timeout=60)
    assert process.returncode == 0
    assert agent.body("PUT /v1/default/images") == {
        "reference": "a",
        "pull": "always",
        "plain_http": True,
        "auth": {"username": "me", "password": "secret word"},
    }


def test_pull_request() -> None:
    options = {
        "always": False,
        "platform": "linux/arm64",
        "plain_http": False,
        "snapshotter": "native",
        "no_unpack": True,
        "platforms": ("linux/amd64",),
    }
    expected = {
        "reference": "a",
        "pull": "missing",
        "platform": "linux/arm64",
        "platforms": ["linux/amd64"],
        "snapshotter": "native",
        "unpack": False,
    }
    assert pull_request("a", options) == expected


@pytest.fixture
def screen() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=110, height=8, color_system=None)


def drawn(bars: Bars, screen: Console) -> list[str]:
    """Return what one refresh draws."""
    paper = Console(file=io.StringIO(), width=screen.width)
    with paper.capture() as capture:
        paper.print(bars._progress.get_renderable())
    return [line.strip() for line in capture.get().splitlines() if line.strip()]


def test_bars(screen: Console) -> None:
    bars = Bars(screen)
    try:
        fetching = progress(
            "fetching",
            layer(A, "download", 512),
            layer(B, "wait"),
            offset=512,
            total=4096,
            rate=1024.0,
            eta=61.0,
        )
        bars.report(fetching["progress"])
        total, first, second = drawn(bars, screen)
        assert total.startswith("total")
        assert total.endswith("1m1s")
        for text in ("fetching", "512 B / 4.0 KiB", "1.0 KiB/s"):
            assert text in total
        assert "download" in first
        assert "512 B / 2.0 KiB" in first
        assert "wait" in second
        unpacking = progress("fetching", layer(A, "unpack", 2048, unpacked=1024), layer(B, "done"))
        bars.report(unpacking["progress"])
        _, first, second = drawn(bars, screen)
        assert "unpack" in first
        assert "1.0 KiB / 2.0 KiB" in first
        assert "done" in second
        assert "2.0 KiB" in second
    finally:
        bars.close()


def test_many_layers_on_a_short_screen(screen: Console) -> None:
    bars = Bars(screen)
    try:
        digests = ["sha256:" + f"{index:064x}"[::-1] for index in range(12)]
        layers = [layer(digest, "download" if index == 5 else "done") for index, digest in enumerate(digests)]
        bars.report(progress("fetching", *layers)["progress"])
        assert len(drawn(bars, screen)) == 2
    finally:
        bars.close()


def test_bars_wait_for_something_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tricorn.cli.bars.Bars", None)
    bars = LazyBars()
    bars.report({"phase": "creating"})
    bars.close()


def test_plain_lines_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    plain = PlainProgress(lambda: now[0])
    plain.report({"phase": "download", "message": "a"})
    for now[0] in (1.0, 4.0, 6.0, 7.0):
        plain.report({"phase": "download", "offset": 1024, "total": 4096, "rate": 512.0, "eta": 6.0})
    assert capsys.readouterr().err.splitlines() == [
        "download: a",
        "download: 1.0 KiB of 4.0 KiB, 512 B/s, 6s left",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 120])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=width, height=20, color_system=None)
    bars = Bars(screen)
    try:
        shown = layer(A, "download", 512, rate=1024.0 * 1024, eta=3600.0)
        bars.report(progress("download", shown, offset=512, total=2048, rate=1.0, eta=9.0)["progress"])
        lines = drawn(bars, screen)
    finally:
        bars.close()
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)
    if width >= 40:
        assert "download" in lines[1]
        assert "1h" in lines[1]


def test_documents_show_while_they_move_only(screen: Console) -> None:
    bars = Bars(screen)
    try:
        manifest = {**layer(A, "download", 1), "kind": "manifest"}
        bars.report(progress("download", manifest)["progress"])
        assert len(drawn(bars, screen)) == 2
        bars.report(progress("download", {**manifest, "phase": "done"})["progress"])
        assert len(drawn(bars, screen)) == 1
    finally:
        bars.close()


def test_progress_as_json_lines(agent: Any, tricorn: Callable[..., Any]) -> None:
    lines = [progress("download", layer(A, "download", 5)), progress("commit")]
    agent.stream("PUT /v1/default/images", *lines, {"result": CHANGE})
    outcome = tricorn("image", "pull", "--progress", "json", "a")
    assert [json.loads(line) for line in outcome.err.splitlines()] == [line["progress"] for line in lines]
    assert tricorn("image", "pull", "--progress", "none", "a").err == ""
    assert tricorn("image", "pull", "--progress", "loud", "a").status == 2


def test_a_pull_that_outlives_its_command(agent: Any, tricorn: Callable[..., Any]) -> None:
    agent.answer("PUT /v1/default/images", {"id": "0123abcd", "state": "running"}, 202)
    assert tricorn("image", "pull", "--detach", "a").out == "0123abcd\n"
    assert agent.requests[0].headers["prefer"] == "respond-async"
    steps = [progress(phase)["progress"] for phase in ("download", "commit")]
    agent.stream("GET /v1/default/operations/0123abcd/progress", *steps)
    view = {"id": "0123abcd", "kind": "image", "object": "a", "state": "done"}
    agent.answer("GET /v1/default/operations/0123abcd", view)
    watched = tricorn("operation", "watch", "0123abcd")
    assert (watched.status, watched.out, watched.err) == (0, "image a: done\n", "download\ncommit\n")
    documents = tricorn("--json", "operation", "watch", "0123abcd").out.splitlines()
    assert [json.loads(document) for document in documents] == [*steps, view]
    failed = {**view, "state": "failed", "error": DataLoss("digest mismatch").problem()}
    agent.answer("GET /v1/default/operations/0123abcd", failed)
    outcome = tricorn("operation", "watch", "-q", "0123abcd")
    assert (outcome.status, outcome.err) == (13, "tricorn: digest mismatch\n")
