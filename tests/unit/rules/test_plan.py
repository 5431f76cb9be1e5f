"""Plans: what changes what, and that a plan carried out leaves nothing to do."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.model.records import Container, TaskStatus
from tricorn.model.requests import ContainerDesired, Mount
from tricorn.rules.plan import canonical, container_steps, differences, label_changes, merged_labels

BASE = ContainerDesired(image="busybox", args=("sleep", "9"), labels={"a": "1"})
DIGEST = "sha256:" + "a" * 64


def existing(desired: ContainerDesired = BASE, **changes: Any) -> Container:
    return Container("c", image_digest=DIGEST, desired=canonical(desired), **changes)


def test_what_is_missing_is_created_and_started() -> None:
    steps = container_steps(None, None, BASE, DIGEST)
    assert [action.verb for action in steps.actions("c")] == ["create", "start"]


def test_the_same_request_changes_nothing() -> None:
    assert not container_steps(existing(), TaskStatus.RUNNING, BASE, DIGEST).changed


@pytest.mark.parametrize(
    "change",
    [
        {"args": ("sleep", "10")}, {"env": {"A": "1"}}, {"user": "nobody"}, {"cwd": "/tmp"}, {"network": "host"},
        {"mounts": (Mount("/data", "/srv"),)}, {"read_only": True},
        {"cap_add": ("NET_ADMIN",)}, {"terminal": True}, {"runtime": "runc"}, {"image": "alpine"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_a_process_was_made_from_makes_it_anew(change: dict[str, Any]) -> None:
    steps = container_steps(existing(), TaskStatus.RUNNING, attrs.evolve(BASE, **change), DIGEST)
    assert [action.verb for action in steps.actions("c")] == ["recreate", "start"]
    assert next(iter(change)) in steps.reasons[0]


def test_a_removed_option_is_seen() -> None:
    before = attrs.evolve(BASE, env={"A": "1"})
    assert container_steps(existing(before), TaskStatus.RUNNING, BASE, DIGEST).create


@pytest.mark.parametrize(
    "change", [{"labels": {}}, {"stop_timeout": 1.0}, {"stop_signal": "SIGINT"}, {"restart": "always"}]
)
def test_what_the_record_alone_holds_is_updated_in_place(change: dict[str, Any]) -> None:
    steps = container_steps(existing(), TaskStatus.RUNNING, attrs.evolve(BASE, **change), DIGEST)
    assert [action.verb for action in steps.actions("c")] == ["update"]


def test_an_image_that_moved_makes_the_container_anew() -> None:
    assert container_steps(existing(), TaskStatus.RUNNING, BASE, "sha256:" + "b" * 64).create
    assert not container_steps(existing(), TaskStatus.RUNNING, BASE, "").changed


@pytest.mark.parametrize(
    ("state", "status", "verbs"),
    [
        ("started", None, ["start"]),
        ("started", TaskStatus.STOPPED, ["start"]),
        ("started", TaskStatus.CREATED, ["start"]),
        ("started", TaskStatus.RUNNING, []),
        ("started", TaskStatus.PAUSED, []),
        ("stopped", TaskStatus.RUNNING, ["stop"]),
        ("stopped", TaskStatus.STOPPED, []),
        ("stopped", None, []),
        ("present", TaskStatus.RUNNING, []),
        ("absent", TaskStatus.RUNNING, ["remove"]),
    ],
)
def test_states(state: Any, status: TaskStatus | None, verbs: list[str]) -> None:
    steps = container_steps(existing(), status, attrs.evolve(BASE, state=state), DIGEST)
    assert [action.verb for action in steps.actions("c")] == verbs


def test_absent_needs_nothing_when_there_is_nothing() -> None:
    assert not container_steps(None, None, attrs.evolve(BASE, state="absent"), "").changed


def test_keys_that_an_older_agent_did_not_know_count_as_their_default() -> None:
    stored = {k: v for k, v in canonical(BASE).items() if k != "sysctls"}
    assert differences(stored, canonical(BASE)) == []


NAMES = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=4)


@given(
    desired=st.builds(
        ContainerDesired,
        image=NAMES,
        state=st.sampled_from(["present", "started", "stopped"]),
        env=st.dictionaries(NAMES, NAMES, max_size=2),
        labels=st.dictionaries(NAMES, NAMES, max_size=2),
        read_only=st.booleans(),
    ),
    status=st.sampled_from([None, *TaskStatus]),
)
def test_a_plan_carried_out_leaves_nothing_to_do(
    desired: ContainerDesired, status: TaskStatus | None
) -> None:
    steps = container_steps(existing(), status, desired, DIGEST)
    after = status
    if steps.remove or steps.create:
        after = None
    if steps.start:
        after = TaskStatus.RUNNING
    if steps.stop:
        after = TaskStatus.STOPPED
    assert not container_steps(existing(desired), after, desired, DIGEST).changed


def test_labels() -> None:
    assert label_changes({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == {"b": "3", "c": "4"}
    assert merged_labels({"a": "1"}, {"a": "", "b": "2"}) == {"b": "2"}
