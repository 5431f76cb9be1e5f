"""From an agent's answers to views, and to the document of --json."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tricorn.fleet import answers
from tricorn.fleet.views import FleetView, NodeView, document

AT = "2026-11-22T17:30:40.000000Z"
LATER = "2026-11-22T17:30:41.500000Z"


def operation(kind: str, *images: str, **fields: Any) -> dict[str, Any]:
    actions = [{"verb": "pull", "object": image, "reason": ""} for image in images]
    return {
        "kind": kind, "state": "done", "started_at": AT, "ended_at": LATER, "result": {"actions": actions},
        "progress": {"offset": 100, "objects": [{"resumed": 30}, {"resumed": 0}]},
    } | fields  # fmt: skip


def test_pulls_are_operations_that_pulled() -> None:
    found = answers.pulls([
        operation("apply", "shop/image/r.lan/a:1", "shop/image/r.lan/b:1"),
        operation("image", "image/r.lan/c:1"),
        operation("image"),
        operation("image", "image/r.lan/d:1", state="failed", result=None),
        operation("push", result={"reference": "x"}),
    ])  # fmt: skip
    assert [(pull.images, pull.seconds, pull.bytes, pull.alone) for pull in found] == [
        (("r.lan/a:1", "r.lan/b:1"), 1.5, 70, False), (("r.lan/c:1",), 1.5, 70, True),
    ]  # fmt: skip


def test_containers_know_their_memory_and_what_they_were_asked_to_be() -> None:
    listed = [
        {"id": "web", "namespace": "shop", "image": "a", "image_digest": "sha256:1", "desired": {"image": "a", "env": {"P": "secret"}},
         "task": {"status": "running", "health": {"status": "healthy"}, "started_at": AT}},
        {"id": "raw", "namespace": "shop", "image": "", "desired": {}, "task": None},
    ]  # fmt: skip
    samples = [
        {"id": "web", "namespace": "shop", "figures": {"memory_working_set_bytes": 5.0, "memory_bytes": 9.0}}
    ]
    web, raw = answers.containers(listed, samples)
    assert (web.status, web.health, web.memory) == ("running", "healthy", 5.0)
    assert (raw.status, raw.memory, raw.config) == ("no task", None, "")
    renamed = answers.containers([listed[0] | {"desired": {"image": "b", "env": {"P": "secret"}}}], [])
    assert renamed[0].config == web.config != ""


def test_the_document_holds_no_settings() -> None:
    listed = [
        {"id": "web", "namespace": "s", "image": "a", "desired": {"env": {"P": "secret"}}, "task": None}
    ]
    node = NodeView("n1", containers=answers.containers(listed, []))
    text = json.dumps(document(FleetView(AT, (node,))))
    assert "web" in text
    assert "secret" not in text


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1", '"x"', "[]", "null"])
def test_numbers_that_measure_nothing_are_nonsense(number: str) -> None:
    value = json.loads(number)
    with pytest.raises(answers.NONSENSE):
        answers.about_host(NodeView("n1"), {"uptime_seconds": value})
    with pytest.raises(answers.NONSENSE):
        answers.images(["shop"], [{"items": [{"name": "a", "digest": "b", "size": value}]}])
    if value is not None:
        with pytest.raises(answers.NONSENSE):
            answers.containers([], [{"namespace": "s", "id": "a", "figures": {"memory_bytes": value}}])


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(answers.NONSENSE):
        answers.pulls([operation("image", "image/r.lan/a:1", started_at=LATER, ended_at=AT)])
