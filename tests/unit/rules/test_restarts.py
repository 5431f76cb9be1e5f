"""Restart policies: who is started again, when, and how often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.records import Container, Task, TaskStatus
from tricorn.rules import restarts
from tricorn.rules.restarts import Kind, RestartPolicy, Verb, Wish, decide, parse_policy, pause, wish_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOOT = "this boot"


def ended(code: int = 1, ran: float = 1.0, **more: Any) -> Task:
    times = {"started_at": NOW - timedelta(seconds=ran), "exited_at": NOW}
    return Task("c", TaskStatus.STOPPED, exit_code=code, **{"boot_id": BOOT, **times, **more})


def wish(policy: str, **more: Any) -> Wish:
    return Wish(parse_policy(policy), **more)


def own(policy: str, **labels: str) -> Container:
    names = {"count": restarts.COUNT, "by_hand": restarts.STOPPED_BY_HAND}
    return Container(
        "c", desired={"restart": policy}, labels={names[key]: value for key, value in labels.items()}
    )


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("no", RestartPolicy()),
        ("always", RestartPolicy(Kind.ALWAYS)),
        ("unless-stopped", RestartPolicy(Kind.UNLESS_STOPPED)),
        ("on-failure", RestartPolicy(Kind.ON_FAILURE)),
        ("on-failure:3", RestartPolicy(Kind.ON_FAILURE, 3)),
    ],
)
def test_policies_are_read(text: str, policy: RestartPolicy) -> None:
    assert parse_policy(text) == policy
    assert str(policy) == text


@pytest.mark.parametrize(
    "text", ["", "never", "always:3", "on-failure:", "on-failure:-1", "on-failure:1e3", "no "]
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse_policy(text)
    assert raised.value.field == "restart"


class TestWishes:
    def test_of_requests(self) -> None:
        assert wish_of(own("always", count="4", by_hand="true")) == wish(
            "always", count=4, stopped_by_hand=True
        )
        assert wish_of(own("no")) is None
        assert wish_of(Container("c", desired={})) is None

    def test_of_labels(self) -> None:
        labels = {restarts.STATUS: "running", restarts.LOG_URI: "file:///log"}
        assert wish_of(Container("c", labels=labels)) == wish(
            "always", wanted="running", log_uri="file:///log"
        )
        labels |= {restarts.POLICY: "on-failure:2", restarts.COUNT: "x"}
        assert wish_of(Container("c", labels=labels)) == wish(
            "on-failure:2", wanted="running", log_uri="file:///log"
        )

    def test_without_a_status_labels_mean_nothing(self) -> None:
        assert wish_of(Container("c", labels={restarts.POLICY: "always"})) is None

    def test_a_policy_nobody_knows_is_none(self) -> None:
        labels = {restarts.STATUS: "running", restarts.POLICY: "sometimes"}
        assert wish_of(Container("c", labels=labels)) is None


class TestDecisions:
    @pytest.mark.parametrize(
        ("policy", "code", "by_hand", "again"),
        [
            ("always", 0, False, True), ("always", 1, False, True), ("always", 1, True, False),
            ("unless-stopped", 0, False, True), ("unless-stopped", 137, True, False),
            ("on-failure", 0, False, False), ("on-failure", 1, False, True), ("on-failure", 143, True, False),
            ("no", 1, False, False),
        ],
    )  # fmt: skip
    def test_by_policy_and_end(self, policy: str, code: int, by_hand: bool, again: bool) -> None:
        decision = decide(wish(policy, stopped_by_hand=by_hand), ended(code), BOOT, NOW)
        assert (decision.verb is Verb.START) == again

    @pytest.mark.parametrize(
        ("policy", "again"), [("always", True), ("unless-stopped", False), ("on-failure", False)]
    )
    def test_a_stop_by_hand_outlives_a_reboot_but_for_always(self, policy: str, again: bool) -> None:
        task = ended(255, boot_id="another boot")
        assert (decide(wish(policy, stopped_by_hand=True), task, BOOT, NOW).verb is Verb.START) == again

    @pytest.mark.parametrize("status", [TaskStatus.CREATED, TaskStatus.RUNNING, TaskStatus.PAUSED])
    def test_what_lives_is_left_alone(self, status: TaskStatus) -> None:
        assert decide(wish("always"), attrs.evolve(ended(), status=status), BOOT, NOW) == restarts.LEAVE

    def test_what_was_never_started_is_left_alone_unless_a_label_wants_it(self) -> None:
        assert decide(wish("always"), None, BOOT, NOW).verb is Verb.LEAVE
        assert decide(wish("always", wanted="running"), None, BOOT, NOW).verb is Verb.START
        assert decide(wish("no", wanted="running"), None, BOOT, NOW).verb is Verb.LEAVE

    def test_failures_in_a_row_are_counted_to_the_bound(self) -> None:
        counts = []
        count = 0
        while (decision := decide(wish("on-failure:3", count=count), ended(), BOOT, NOW)).verb is Verb.START:
            counts.append(count := decision.count)
        assert counts == [1, 2, 3]

    def test_a_steady_run_begins_a_new_row(self) -> None:
        task = ended(ran=restarts.STEADY)
        decision = decide(wish("on-failure:3", count=3), task, BOOT, NOW)
        assert (decision.count, decision.due) == (1, NOW + timedelta(seconds=pause(0)))

    def test_pauses_grow_to_a_minute(self) -> None:
        due = [decide(wish("always", count=count), ended(), BOOT, NOW).due for count in (0, 1, 5, 9, 10, 999)]
        assert [(time - NOW).total_seconds() for time in due if time] == [0.1, 0.2, 3.2, 51.2, 60.0, 60.0]

    @pytest.mark.parametrize(
        ("task", "verb"),
        [
            (attrs.evolve(ended(), status=TaskStatus.RUNNING), Verb.STOP),
            (ended(), Verb.LEAVE),
            (None, Verb.LEAVE),
        ],
    )
    def test_a_label_may_want_it_stopped(self, task: Task | None, verb: Verb) -> None:
        assert decide(wish("always", wanted="stopped"), task, BOOT, NOW).verb is verb

    def test_a_status_nobody_knows_changes_nothing(self) -> None:
        assert decide(wish("always", wanted="paused"), ended(), BOOT, NOW) == restarts.LEAVE


class TestHands:
    def test_a_stop_is_noted_once_and_a_start_clears_the_row(self) -> None:
        assert restarts.labels_of_hand(own("always", count="2"), stopped=True) == {
            restarts.STOPPED_BY_HAND: "true", restarts.COUNT: "",
        }  # fmt: skip
        assert restarts.labels_of_hand(own("always", by_hand="true"), stopped=True) == {}
        assert restarts.labels_of_hand(own("always", by_hand="true"), stopped=False) == {
            restarts.STOPPED_BY_HAND: ""
        }

    def test_without_a_policy_nothing_is_noted(self) -> None:
        assert restarts.labels_of_hand(own("no"), stopped=True) == {}
