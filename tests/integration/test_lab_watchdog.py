"""systemd's watchdog in a node of the lab: an agent that hangs is replaced, and containers run on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tricorn_testing.labs import Lab
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]

NODE = "n1"
DROP_IN = "/run/systemd/system/tricornd.service.d"


def main_pid(node: Lab) -> int:
    return int(node.run(NODE, "systemctl show tricornd --property=MainPID --value"))


@pytest.fixture
def impatient(fleet: Lab) -> Iterator[Lab]:
    """The fleet, one of whose nodes waits three seconds for its agent, not a minute."""
    settings = "[Service]\\nWatchdogSec=3\\nRestartSec=0\\n"
    again = "systemctl daemon-reload; systemctl restart tricornd"
    fleet.run(NODE, f"mkdir -p {DROP_IN}; printf '{settings}' >{DROP_IN}/watchdog.conf; {again}")
    yield fleet
    fleet.run(NODE, f"rm -r {DROP_IN}; {again}")


def test_an_agent_that_hangs_is_replaced(impatient: Lab) -> None:
    agent = main_pid(impatient)
    container = json.loads(impatient.run(NODE, "tricorn inspect lab"))["task"]["pid"]
    impatient.run(NODE, f"kill -STOP {agent}")
    eventually(lambda: main_pid(impatient) not in {0, agent}, "the watchdog doesn't fire")
    eventually(lambda: impatient.attempt(NODE, "tricorn info").returncode == 0)
    assert impatient.run(NODE, "systemctl show tricornd --property=NRestarts --value") != "0"
    assert json.loads(impatient.run(NODE, "tricorn inspect lab"))["task"]["pid"] == container
