"""From what an agent answers to the views of a fleet. Pure.

A node may say anything: what doesn't fit raises one of NONSENSE, and numbers are finite and not negative.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import evolve

from tricorn.fleet.views import Action, ContainerLine, ImageLine, NodeView, Pull, digest_of

NONSENSE: Final = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


def about_agent(view: NodeView, version: Mapping[str, Any]) -> NodeView:
    return evolve(view, version=str(version["version"]), python=str(version.get("python", "")))


def about_host(view: NodeView, info: Mapping[str, Any]) -> NodeView:
    cordon = info.get("cordon") or {}  # an older agent has none
    return evolve(
        view, cordoned=bool(cordon.get("cordoned")), cordon_reason=str(cordon.get("reason", "")),
        kernel=str(info.get("kernel", "")), platform=str(info.get("platform", "")),
        uptime=_number(info.get("uptime_seconds", 0)),
    )  # fmt: skip


def containers(
    listed: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Any]]
) -> tuple[ContainerLine, ...]:
    """Return the containers of all namespaces, with the memory that the samples tell."""
    memory = {(sample["namespace"], sample["id"]): _memory(sample["figures"]) for sample in samples}
    return tuple(_container(item, memory.get((item["namespace"], item["id"]))) for item in listed)


def _container(item: Mapping[str, Any], memory: float | None) -> ContainerLine:
    task = item.get("task") or {}
    settings = dict(item.get("desired") or {})
    return ContainerLine(
        namespace=str(item["namespace"]), name=str(item["id"]), image=str(item["image"]),
        image_digest=str(item.get("image_digest", "")), status=str(task.get("status", "no task")),
        health=str((task.get("health") or {}).get("status", "")), exit_code=task.get("exit_code"),
        oom_killed=bool(task.get("oom_killed")), memory=memory, started_at=str(task.get("started_at") or ""),
        config=digest_of(settings), settings=settings,
    )  # fmt: skip


def _memory(figures: Mapping[str, float]) -> float | None:
    found = figures.get("memory_working_set_bytes", figures.get("memory_bytes"))
    return None if found is None else _number(found)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{number} measures nothing")
    return number


def images(namespaces: Sequence[str], answers: Sequence[Mapping[str, Any]]) -> tuple[ImageLine, ...]:
    """Return the images of each namespace's answer."""
    return tuple(
        ImageLine(
            namespace, str(item["name"]), str(item["digest"]), int(_number(item["size"])),
            str(item.get("platform", "")), bool(item.get("unpacked")),
        )
        for namespace, answer in zip(namespaces, answers, strict=True) for item in answer["items"]
    )  # fmt: skip


def actions(change: Mapping[str, Any]) -> tuple[Action, ...]:
    return tuple(
        Action(str(item["verb"]), str(item["object"]), str(item.get("reason", "")))
        for item in change["actions"]
    )


def pulls(operations: Sequence[Mapping[str, Any]]) -> tuple[Pull, ...]:
    """Return the operations that have pulled something to the end, oldest first."""
    found = [pull for item in operations if (pull := _pull(item)) is not None]
    return tuple(sorted(found, key=lambda pull: pull.at))


def _pull(item: Mapping[str, Any]) -> Pull | None:
    result = item.get("result")
    if item.get("state") != "done" or not isinstance(result, Mapping):
        return None
    pulled = [
        action["object"].partition("image/")[2]
        for action in result.get("actions") or ()
        if action.get("verb") == "pull"
    ]
    if not pulled:
        return None
    began, ended = (datetime.fromisoformat(item[key]) for key in ("started_at", "ended_at"))
    return Pull(
        tuple(pulled), round(_number((ended - began).total_seconds()), 4),
        _fetched(item.get("progress") or {}), str(item["ended_at"]), alone=item["kind"] == "image",
    )  # fmt: skip


def _fetched(progress: Mapping[str, Any]) -> int:
    """Return the bytes that came over the network: what was there already isn't counted."""
    resumed = sum(int(part.get("resumed", 0)) for part in progress.get("objects") or ())
    return max(int(progress.get("offset", 0)) - resumed, 0)
