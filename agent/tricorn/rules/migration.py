"""The two machines of a migration: which state follows which, and what is done after a crash. Pure.

The source never lets its copy go on after it has asked the target to start one, unless the target proves
that it hasn't and never will. The target proves it by a state on record that nothing leads out of. So there
are never two copies that run, whatever dies or is cut off; the price is the state `uncertain`, in which the
source's copy stands still until the target is heard again, or somebody decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from tricorn.errors import FailedPrecondition
from tricorn.model.migrations import Role, State

_OUT: Final[Mapping[State, tuple[State, ...]]] = {
    "preflight": ("seed", "failed"),
    "seed": ("precopy", "freeze", "failed"),
    "precopy": ("freeze", "failed"),
    "freeze": ("final", "failed"),
    "final": ("restore", "failed"),
    "restore": ("acked", "failed", "uncertain"),
    "uncertain": ("acked", "failed"),
    "acked": ("done",),
    "done": (),
    "failed": (),
}
_IN: Final[Mapping[State, tuple[State, ...]]] = {
    "accepted": ("seeded", "refused"),
    "seeded": ("restoring", "refused"),
    "restoring": ("running", "refused"),
    "running": ("done",),
    "done": (),
    "refused": (),
}
_NEXT: Final[Mapping[Role, Mapping[State, tuple[State, ...]]]] = {"out": _OUT, "in": _IN}
FIRST: Final[Mapping[Role, State]] = {"out": "preflight", "in": "accepted"}
STILL: Final = frozenset({"freeze", "final", "restore", "uncertain", "acked"})  # its copy is held
ASKED: Final = frozenset({"restore", "uncertain"})  # the target may have started


class Recovery(Enum):
    """What an agent that starts does about a migration that another one left."""

    NOTHING = "nothing"
    GIVE_UP = "give up"  # source: it runs; the target is told when it can be
    RESUME = "resume"  # source: it was, or may have been, held still: let it go on
    ASK = "ask"  # source: keep it still until the target says what became of it
    DELETE = "delete"  # source: the target has it
    REFUSE = "refuse"  # target: nothing was started, and nothing will be
    LOOK = "look"  # target: refuse as soon as nothing is left of what was being started


_AFTER_CRASH: Final[Mapping[State, Recovery]] = {
    "preflight": Recovery.GIVE_UP, "seed": Recovery.GIVE_UP, "precopy": Recovery.GIVE_UP,
    "freeze": Recovery.RESUME, "final": Recovery.RESUME,
    "restore": Recovery.ASK, "uncertain": Recovery.ASK, "acked": Recovery.DELETE,
    "accepted": Recovery.REFUSE, "seeded": Recovery.REFUSE, "restoring": Recovery.LOOK,
}  # fmt: skip


def check_step(role: Role, old: State, new: State) -> None:
    """Raise FailedPrecondition unless `new` may follow `old`."""
    if new not in _NEXT[role].get(old, ()):
        raise FailedPrecondition(
            f"the migration is {old}", why=f"from there it can't become {new}", field="state"
        )


def is_over(role: Role, state: State) -> bool:
    """Return whether nothing follows. A target's running copy needs nothing more, either."""
    return not _NEXT[role].get(state) or state == "running"


def after_crash(state: State) -> Recovery:
    """Return what the next agent does about a migration that was in `state` when this one ended."""
    return _AFTER_CRASH.get(state, Recovery.NOTHING)


def verdict(answer: State) -> State | None:
    """Return the source's next state by what the target says of itself after it was asked to start, None
    while it can't tell. `refused` is on the target's record before it is said.
    """
    if answer in ("running", "done"):
        return "acked"
    return "failed" if answer == "refused" else None


def may_refuse(state: State) -> bool:
    """Return whether a target in this state can still promise that it never starts."""
    return state in ("accepted", "seeded")
