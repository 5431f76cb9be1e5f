"""Migrations: whatever dies, is lost or comes late, there are never two copies that run."""

from __future__ import annotations

from typing import get_args

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import FailedPrecondition
from tricorn.model.migrations import Role, State
from tricorn.rules.migration import (
    ASKED,
    FIRST,
    STILL,
    Recovery,
    after_crash,
    check_step,
    is_over,
    may_refuse,
    verdict,
)

AHEAD: dict[State, State] = {
    "preflight": "seed", "seed": "precopy", "precopy": "freeze", "freeze": "final", "final": "restore",
}  # fmt: skip


@define
class World:
    """Both nodes' journals and copies, and the one message that may come at any time after it was sent."""

    source: State = "preflight"
    target: State | None = None
    source_there: bool = True
    target_runs: bool = False
    sent: bool = False
    without_rounds: bool = False

    @property
    def source_runs(self) -> bool:
        return self.source_there and self.source not in STILL

    def go(self, role: Role, state: State) -> None:
        old = self.source if role == "out" else self.target
        assert old is not None
        check_step(role, old, state)
        if role == "out":
            self.source = state
        else:
            self.target = state

    # what may happen, in any order
    def step(self) -> None:
        if self.source == "preflight" and self.target is None:
            self.target = FIRST["in"]
        if self.source == "seed" and self.target == "accepted":
            self.go("in", "seeded")
            if self.without_rounds:
                self.go("out", "freeze")
        if self.source in AHEAD:
            self.go("out", AHEAD[self.source])
        self.sent |= self.source == "restore"

    def start_arrives(self) -> None:
        if self.sent and self.target == "seeded":
            self.go("in", "restoring")

    def target_runs_it(self) -> None:
        if self.target == "restoring":
            self.go("in", "running")
            self.target_runs = True

    def target_fails(self) -> None:
        if self.target in ("accepted", "seeded", "restoring"):
            self.go("in", "refused")

    def asked(self) -> State:
        """What the target says after it was asked to promise that it never starts."""
        if self.target is None:
            self.target = "accepted"
        if may_refuse(self.target):
            self.go("in", "refused")
        return self.target

    def answer_is_lost(self) -> None:
        if self.source in ASKED:
            self.asked()

    def ask(self) -> None:
        if self.source in ASKED and (found := verdict(self.asked())) is not None:
            self.go("out", found)

    def silence(self) -> None:
        if self.source == "restore":
            self.go("out", "uncertain")

    def finish(self) -> None:
        if self.source == "acked":
            self.source_there = False
            self.go("out", "done")

    def source_dies(self) -> None:
        if after_crash(self.source) in (Recovery.GIVE_UP, Recovery.RESUME):
            self.go("out", "failed")

    def target_dies(self) -> None:
        if self.target is not None and after_crash(self.target) in (Recovery.REFUSE, Recovery.LOOK):
            self.go("in", "refused")

    def source_gives_up(self) -> None:
        if self.source in AHEAD:
            self.go("out", "failed")


HAPPENINGS = [
    "step", "step", "step", "start_arrives", "target_runs_it", "target_fails", "answer_is_lost", "ask",
    "silence", "finish", "source_dies", "target_dies", "source_gives_up",
]  # fmt: skip


@given(st.lists(st.sampled_from(HAPPENINGS), max_size=40), st.booleans())
def test_never_two_copies_and_in_the_end_exactly_one(happenings: list[str], without_rounds: bool) -> None:
    world = World(without_rounds=without_rounds)
    for name in happenings:
        getattr(world, name)()
        assert not (world.source_runs and world.target_runs), name
    for _ in range(8):  # all is well again
        for name in ("step", "start_arrives", "target_runs_it", "ask", "finish"):
            getattr(world, name)()
            assert not (world.source_runs and world.target_runs), name
    assert world.source_runs != world.target_runs
    assert is_over("out", world.source)


@pytest.mark.parametrize("role", get_args(Role))
def test_nothing_leads_out_of_an_end(role: Role) -> None:
    for end in ("done", "failed", "refused"):
        for state in get_args(State):
            with pytest.raises(FailedPrecondition):
                check_step(role, end, state)
        assert after_crash(end) is Recovery.NOTHING


def test_only_proof_lets_the_source_go_on_after_it_asked() -> None:
    assert verdict("refused") == "failed"
    assert {verdict(state) for state in ("running", "done")} == {"acked"}
    assert {verdict(state) for state in ("accepted", "seeded", "restoring")} == {None}
    for state in ASKED:
        assert after_crash(state) is Recovery.ASK
