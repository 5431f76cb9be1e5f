"""How long a container stands still that moves between two agents of one machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rig import Ceiling, Measurement
from sides import OURS, Stage

from tricorn_testing.criu import missing_criu
from tricorn_testing.migrating import NS, migrating_pair
from tricorn_testing.waiting import eventually

MEGABYTES: Final = 60
DOWNTIME: Final = 1.5  # seconds
# tail keeps the bytes that it is to print at the end in its own memory
WORKLOAD: Final = f"(head -c {MEGABYTES}000000 /dev/urandom; sleep 100000) | tail -c {MEGABYTES}000000"


def migration(stage: Stage) -> Measurement:
    """Move a container with 60 MB of memory, again and again, from one agent to another."""
    result = Measurement(
        "migration", f"downtime of {MEGABYTES} MB of memory from agent to agent, from freeze to running", "ms"
    )
    if reason := missing_criu():
        result.notes.append(f"not measured: {reason}")
        return result
    with migrating_pair() as pair:
        image = {"reference": stage.small.reference, "plain_http": True}
        pair.source.put(f"/v1/{NS}/images", image)
        for number in range(max(stage.plan.rounds, 3)):
            name = f"moving-{number}"
            wanted = {"image": stage.small.reference, "args": ["/bin/sh", "-c", WORKLOAD]}
            pair.source.put(f"/v1/{NS}/containers/{name}", wanted)
            eventually(lambda name=name: _memory(pair.source.get, name) > (MEGABYTES - 1) * 1_000_000)
            report = pair.migrate(name, to=f"127.0.0.1:{pair.port}", keep_image=True)["report"]
            result.side(OURS).add_round([report["downtime_ms"] / 1000])
            pair.target.delete(f"/v1/{NS}/containers/{name}", force=True)
    result.notes.append(f"the last one: {report}")
    result.bounds = [Ceiling(OURS, DOWNTIME)]
    return result


def _memory(get: Callable[[str], Any], name: str) -> int:
    return int(get(f"/v1/{NS}/containers/{name}/stats").get("memory_bytes", 0))


ALL: Final = {"migration": migration}
