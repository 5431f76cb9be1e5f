"""Has the kernel ready for processes to be put into control groups, before a runtime does it.

Whoever moves a process to another group takes a lock that all forks of the system share, and the first to
do so after a pause waits for an RCU grace period: 12 ms of the 27 that creating a container takes. For
about as long after that, it costs nothing (see kernel/rcu/sync.c). So the agent, as soon as it learns that
a container or exec is about to be created, moves itself to the group it is in: nothing changes, and the
wait is over when the runtime gets there. The mount option `favordynmods` would have the same effect for
good, at the cost of every fork of the host.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import trio

from tricorn.runtime.cgroup import Hierarchies

log = structlog.get_logger(__name__)
_AGAIN: Final = 0.009  # seconds; the kernel stays ready for at least 12
_AHEAD: Final = 0.06  # seconds between a container's record and its task, as clients go
_LONGEST: Final = 2.0  # seconds in one go: whatever takes longer doesn't need it


class Attachments:
    """`run` is a task of its owner. Where the group's file can't be written, nothing is done."""

    def __init__(self, hierarchies: Hierarchies) -> None:
        self._hierarchies = hierarchies
        self._until = 0.0
        self._under_way = 0
        self._wanted = trio.Event()
        self._limiter = trio.CapacityLimiter(1)
        self.usable = True

    @property
    def at_work(self) -> bool:
        """Whether the kernel is being kept ready."""
        return self._limiter.borrowed_tokens > 0

    def expect(self) -> None:
        """A process is likely to be put into a group soon."""
        self._until = time.monotonic() + _AHEAD
        self._wanted.set()

    @contextmanager
    def expected(self) -> Iterator[None]:
        """Within this, a process is put into a group."""
        self._under_way += 1
        self.expect()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._until = 0.0

    async def run(self) -> None:
        """Keep the kernel ready while that is wanted, for ever."""
        while self.usable:
            await self._wanted.wait()
            self._wanted = trio.Event()
            await trio.to_thread.run_sync(self._keep_ready, limiter=self._limiter, abandon_on_cancel=True)

    def _keep_ready(self) -> None:
        latest = time.monotonic() + _LONGEST
        try:
            file = os.open(own_procs(self._hierarchies), os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            self._give_up(error)
            return
        try:
            while (now := time.monotonic()) < latest and (self._under_way or now < self._until):
                os.write(file, b"0")  # the writer's own process
                time.sleep(_AGAIN)
        except OSError as error:
            self._give_up(error)
        finally:
            os.close(file)

    def _give_up(self, error: OSError) -> None:
        log.info("containers start a little later", why=f"the agent's control group is out of reach: {error}")
        self.usable = False


def own_procs(hierarchies: Hierarchies, membership: str = "/proc/self/cgroup") -> str:
    """Return the file that lists the processes of the agent's own group, in any hierarchy.

    FileNotFoundError when this host mounts none.
    """
    with open(membership, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _number, controllers, path = line.rstrip("\n").split(":", 2)
            mounts = [hierarchies.v1.get(name, "") for name in controllers.split(",")]
            point = next(filter(None, mounts), "") if controllers else hierarchies.v2
            if point and not path.startswith("/.."):
                return f"{point}{path.rstrip('/')}/cgroup.procs"
    raise FileNotFoundError("no control group of this process is mounted")
