"""A short soak: what `make soak` does for minutes, for as many cycles as tell that it works."""

from __future__ import annotations

import pytest

from tricorn_testing.daemon import running_daemon
from tricorn_testing.soaking import Soak

pytestmark = [pytest.mark.root, pytest.mark.faults]
NAMESPACE = "soak-test"


def test_nothing_is_left_of_containers_whose_agent_is_killed(image: str) -> None:
    """Containers run, are executed in, killed and deleted, four at a time; the agent is killed in between."""
    with running_daemon() as daemon:
        daemon.put(f"/v1/{NAMESPACE}/images", {"reference": image, "plain_http": True})
        outcome = Soak(daemon, image, NAMESPACE, cycles=24, kill_every=8).run()
    assert outcome.clean, outcome.leaked
    assert (outcome.cycles, outcome.kills) == (24, 3)
