from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from tricorn.cli.bars import Bars
from tricorn.cli.image import pull_request
from tricorn.cli.progress import LazyBars, Meter
from tricorn.errors import DataLoss

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def layer(digest: str, phase: str, offset: int = 0, total: int = 2048, unpacked: int = 0) -> dict[str, Any]:
    return {"digest": digest, "phase": phase, "offset": offset, "total": total, "unpacked": unpacked}


def progress(phase: str, *layers: Any, **fields: Any) -> dict[str, Any]:
    return {"progress": {"operation": "1", "phase": phase, "layers": list(layers), **fields}}


CHANGE = {"changed": True, "actions": [], "after": {"name": "docker.io/library/a:latest", "digest": A}}


def test_plain_lines_when_piped(agent: Any, tricorn: Callable[..., Any]) -> None:
    agent.stream(
        "PUT /v1/default/images",
        progress("resolving", message="docker.io/library/a:latest"),
        progress("fetching", layer(A, "downloading", 10), layer(B, "exists")),
        progress("fetching", layer(A, "downloading", 2048), layer(B, "exists")),
        progress("fetching", layer(A, "unpacking", 2048, unpacked=5), layer(B, "exists")),
        progress("committing", layer(A, "done"), layer(B, "exists")),
        {"result": CHANGE},
    )
    outcome = tricorn("image", "pull", "a")
    assert outcome.status == 0
    assert outcome.err.splitlines() == [
        "resolving: docker.io/library/a:latest",
        "layer bbbbbbbbbbbb: exists (2.0 KiB)",
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
    process.communicate(b"secret word\n", timeout=10)
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
    }
    expected = {
        "reference": "a",
        "pull": "missing",
        "platform": "linux/arm64",
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
            layer(A, "downloading", 512),
            layer(B, "waiting"),
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
        assert "downloading" in first
        assert "512 B / 2.0 KiB" in first
        assert "waiting" in second
        unpacking = progress("fetching", layer(A, "unpacking", 2048, unpacked=1024), layer(B, "done"))
        bars.report(unpacking["progress"])
        _, first, second = drawn(bars, screen)
        assert "unpacking" in first
        assert "1.0 KiB / 2.0 KiB" in first
        assert "done" in second
        assert "2.0 KiB" in second
    finally:
        bars.close()


def test_many_layers_on_a_short_screen(screen: Console) -> None:
    bars = Bars(screen)
    try:
        digests = ["sha256:" + f"{index:064x}"[::-1] for index in range(12)]
        layers = [
            layer(digest, "downloading" if index == 5 else "done") for index, digest in enumerate(digests)
        ]
        bars.report(progress("fetching", *layers)["progress"])
        assert len(drawn(bars, screen)) == 2
    finally:
        bars.close()


def test_bars_wait_for_something_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tricorn.cli.bars.Bars", None)
    bars = LazyBars()
    bars.report({"phase": "creating"})
    bars.close()


def test_meter() -> None:
    now = 0.0
    meter = Meter(lambda: now)
    assert (meter.rate, meter.left(100)) == (0.0, "")
    for second in range(1, 4):
        now = float(second)
        meter.update(second * 10)
    assert meter.rate == 10
    assert meter.left(130) == "10s"
    now = 4.0
    meter.update(5)
    assert meter.rate == 0
    now = 5.0
    meter.update(25)
    assert meter.rate == 20
