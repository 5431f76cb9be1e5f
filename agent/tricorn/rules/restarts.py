"""When a container that has ended is started again. Pure.

The policies and labels are those of containerd's restart monitor (`containerd.io/restart.*`), known to users
of Docker and nerdctl; the pauses between attempts are Docker's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from attrs import frozen

from tricorn.errors import InvalidArgument
from tricorn.model.records import Container, Task, TaskStatus

STATUS: Final = "containerd.io/restart.status"
POLICY: Final = "containerd.io/restart.policy"
COUNT: Final = "containerd.io/restart.count"
LOG_URI: Final = "containerd.io/restart.loguri"
STOPPED_BY_HAND: Final = "containerd.io/restart.explicitly-stopped"
PREFIX: Final = "containerd.io/restart."

FIRST_PAUSE: Final = 0.1  # seconds; doubled by each attempt
LONGEST_PAUSE: Final = 60.0
CLIENTS_TURN: Final = (
    10.0  # seconds that a client has to make its container's task; containerd looks as often
)
STEADY: Final = 10.0  # seconds of running after which earlier failures no longer count
_FORM: Final = re.compile(r"(no|always|unless-stopped|on-failure)(?::(0|[1-9][0-9]{0,8}))?")
_STOPPED: Final = frozenset({TaskStatus.STOPPED})


class Kind(StrEnum):
    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


@frozen
class RestartPolicy:
    """`most` bounds the attempts in a row of `on-failure`; 0 is no bound."""

    kind: Kind = Kind.NO
    most: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.most}" if self.most else str(self.kind)


def parse_policy(text: str, field: str = "restart") -> RestartPolicy:
    """Read `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`; InvalidArgument for the rest."""
    match = _FORM.fullmatch(text)
    if match is None or (match[2] is not None and match[1] != Kind.ON_FAILURE):
        raise InvalidArgument(
            f"restart policy {text[:60]!r} is unknown",
            hint="no, always, unless-stopped, on-failure or on-failure:N",
            field=field,
        )
    return RestartPolicy(Kind(match[1]), int(match[2] or 0))


@frozen
class Wish:
    """What a container's record says of restarts. `wanted` is the status a client's label asks for, "" where
    the agent itself keeps the container.
    """

    policy: RestartPolicy
    wanted: str = ""
    count: int = 0
    stopped_by_hand: bool = False
    log_uri: str = ""


def wish_of(container: Container) -> Wish | None:
    """Return what is wished for a container, None if nothing is. Labels that mean nothing count as absent."""
    labels = container.labels
    own = str(container.desired.get("restart", "")) if container.desired else ""
    text = own or (labels.get(POLICY) or ("always" if STATUS in labels else ""))
    match = _FORM.fullmatch(text)
    if match is None or (not own and STATUS not in labels):
        return None
    policy = RestartPolicy(Kind(match[1]), int(match[2] or 0))
    if own and policy.kind is Kind.NO:
        return None
    count = labels.get(COUNT, "")
    return Wish(
        policy,
        "" if own else labels[STATUS],
        int(count) if count.isdecimal() and len(count) < 10 else 0,
        labels.get(STOPPED_BY_HAND) == "true",
        labels.get(LOG_URI, ""),
    )


class Verb(StrEnum):
    LEAVE = "leave"
    START = "start"
    STOP = "stop"


@frozen
class Decision:
    """What to do with a container, and not before `due`. `count` is the number of the attempt in its row."""

    verb: Verb
    due: datetime | None = None
    count: int = 0


LEAVE: Final = Decision(Verb.LEAVE)


def decide(wish: Wish, task: Task | None, boot_id: str, now: datetime) -> Decision:
    """Decide about one container. `boot_id` is the present boot's: what was stopped by hand in an earlier one
    is started again under `always`.
    """
    if wish.wanted == "stopped":
        return Decision(Verb.STOP, now) if task and task.status not in _STOPPED else LEAVE
    if wish.wanted not in {"", "running"}:
        return LEAVE
    if task is None:  # an agent's own container was never started; a client's is to be, says its label
        return Decision(Verb.START, now) if wish.wanted and _kept(wish, None, boot_id) else LEAVE
    if task.status not in _STOPPED or not _kept(wish, task, boot_id):
        return LEAVE
    count = 0 if _was_steady(task) else wish.count
    if wish.policy.kind is Kind.ON_FAILURE and wish.policy.most and count >= wish.policy.most:
        return LEAVE
    ended = task.exited_at or now
    return Decision(Verb.START, ended + timedelta(seconds=pause(count)), count + 1)


def _kept(wish: Wish, task: Task | None, boot_id: str) -> bool:
    """Whether the policy wants a container that doesn't run to run."""
    match wish.policy.kind:
        case Kind.NO:
            return False
        case Kind.UNLESS_STOPPED:
            return not wish.stopped_by_hand
        case Kind.ALWAYS:
            return not wish.stopped_by_hand or (task is not None and task.boot_id != boot_id)
        case Kind.ON_FAILURE:
            failed = task is None or task.exit_code != 0
            return failed and not wish.stopped_by_hand
    raise AssertionError(wish.policy.kind)


def _was_steady(task: Task) -> bool:
    if task.started_at is None or task.exited_at is None:
        return False
    return (task.exited_at - task.started_at).total_seconds() >= STEADY


def pause(count: int) -> float:
    """Return the seconds between an end and the start after it, `count` attempts having failed in a row."""
    return float(min(FIRST_PAUSE * 2 ** min(count, 30), LONGEST_PAUSE))


def labels_of_start(count: int) -> dict[str, str]:
    """Return the changes of labels that go with an automatic start."""
    return {COUNT: str(count), STOPPED_BY_HAND: ""}


def labels_of_hand(container: Container, *, stopped: bool) -> Mapping[str, str]:
    """Return the changes of labels that go with a start or stop by hand, none if nothing would change."""
    if wish_of(container) is None:
        return {}
    wanted: dict[str, Any] = {STOPPED_BY_HAND: "true" if stopped else "", COUNT: ""}
    return {key: value for key, value in wanted.items() if container.labels.get(key, "") != value}
