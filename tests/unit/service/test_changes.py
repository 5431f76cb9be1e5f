"""Looking whenever something was written: also after a look that failed."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from tricorn.errors import ResourceExhausted
from tricorn.model.records import Container
from tricorn.rules import restarts as restarts_rules
from tricorn.rules.restarts import RestartPolicy, Wish
from tricorn.service import restarts
from tricorn.service.changes import at_changes
from tricorn_testing.clock import HandClock


@pytest.mark.usefixtures("autojump_clock")
async def test_a_failed_look_is_repeated_without_a_change() -> None:
    async def wait_beyond(_: int) -> None:
        await trio.sleep_forever()

    db = SimpleNamespace(newest=1, wait_beyond=wait_beyond)
    looks = 0
    with trio.CancelScope() as scope:

        async def look() -> float:
            nonlocal looks
            looks += 1
            if looks == 1:
                raise ResourceExhausted("no room")
            scope.cancel()
            return math.inf

        await at_changes(cast("Any", db), look)
    assert looks == 2


def test_a_container_being_started_is_looked_at_again() -> None:
    """Its start may fail, and nothing is written then."""
    nothing = cast("Any", None)
    restarter = restarts.Restarter(nothing, nothing, nothing, HandClock(), "this boot")
    restarter._busy.add(("n", "c"))
    candidate = restarts._Candidate(("n", "c"), Container("c"), None, Wish(RestartPolicy()))
    assert 0 < restarter._act([candidate], nothing) < math.inf


@pytest.mark.usefixtures("autojump_clock")
async def test_clients_have_their_turn_to_make_the_task_of_a_new_container() -> None:
    nothing = cast("Any", None)
    started: list[restarts.Key] = []
    nursery = cast("Any", SimpleNamespace(start_soon=lambda _, key, **__: started.append(key)))
    restarter = restarts.Restarter(nothing, nothing, nothing, HandClock(), "this boot")

    def alone(name: str) -> restarts._Candidate:
        wish = Wish(RestartPolicy(restarts_rules.Kind.ALWAYS), wanted="running")
        return restarts._Candidate(("n", name), Container(name), None, wish)

    restarter._act([alone("old")], nursery)
    assert started == [("n", "old")]  # whoever made it may be gone with the agent before
    assert restarter._act([alone("new")], nursery) == pytest.approx(restarts_rules.CLIENTS_TURN, abs=1)
    await trio.sleep(restarts_rules.CLIENTS_TURN / 2)
    assert restarter._act([alone("new")], nursery) == pytest.approx(restarts_rules.CLIENTS_TURN / 2, abs=1)
    assert len(started) == 1
    await trio.sleep(restarts_rules.CLIENTS_TURN)
    restarter._act([alone("new")], nursery)
    assert started[1:] == [("n", "new")]
