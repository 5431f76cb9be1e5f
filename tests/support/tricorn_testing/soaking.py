"""A soak: containers run, are executed in, killed and deleted over and over while the agent itself is killed
now and then, in the middle of whatever it does. Nothing may be left of it.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from attrs import Factory, define, frozen

from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.inventory import Inventory, look
from tricorn_testing.processes import resident_kib

LOST = (OSError, http.client.HTTPException)
SETTLING = 60.0  # seconds until what follows the answers must be done
SCRIPT = "echo begun; sleep 1000 & wait"  # two processes


@frozen
class Outcome:
    """`leaked` names what there is more of than before, by kind; `notes` are figures for people."""

    before: Inventory
    after: Inventory
    leaked: dict[str, list[str]]
    cycles: int
    kills: int
    interrupted: int
    seconds: float
    resident: tuple[int, int]  # the agent's memory before and after, KiB

    @property
    def clean(self) -> bool:
        return not any(self.leaked.values())


@define
class Soak:
    """`cycles` of run, exec, kill and delete, `width` at a time; `kill -9` to the agent after every
    `kill_every` of them. `progress` hears how many are done, and of how many kills.
    """

    daemon: Daemon
    image: str
    namespace: str
    cycles: int
    kill_every: int
    width: int = 4
    progress: Callable[[int, int], None] = lambda _, __: None
    _done: int = 0
    _kills: int = 0
    _interrupted: int = 0
    _guard: threading.Lock = Factory(threading.Lock)
    _up: threading.Event = Factory(threading.Event)
    _failure: BaseException | None = None

    def run(self) -> Outcome:
        """Do it. Raises what a cycle found wrong."""
        self._up.set()
        for number in range(self.width):  # pools fill, caches are made
            self._once(number)
        before = self._settled(None)
        memory = resident_kib(self.daemon.pid)
        began = time.monotonic()
        with ThreadPoolExecutor(self.width) as pool:
            list(pool.map(self._cycle, range(self.cycles)))
        seconds = time.monotonic() - began
        after = self._settled(before)
        return Outcome(
            before, after, after.since(before), self._done, self._kills, self._interrupted, seconds,
            (memory, resident_kib(self.daemon.pid)),
        )  # fmt: skip

    # ------------------------------------------------------------ one cycle
    def _cycle(self, number: int) -> None:
        if self._failure:
            return
        try:
            self._insist(number)
        except BaseException as error:
            self._failure = error
            self._up.set()
            raise
        with self._guard:
            self._done += 1
            due = self._done % self.kill_every == 0
            self.progress(self._done, self._kills + due)
            if due:
                self._kill_agent()

    def _insist(self, number: int) -> None:
        """Go through one cycle, from its beginning whenever the agent was killed on the way."""
        while True:
            self._up.wait()
            kills = self._kills
            try:
                return self._once(number)
            except LOST:
                if kills == self._kills and self._up.is_set():
                    raise
                self._interrupted += 1

    def _once(self, number: int) -> None:
        daemon, place = self.daemon, f"/v1/{self.namespace}/containers/c{number}"
        self._delete(place)  # of a cycle that was cut short
        desired = {"image": self.image, "args": ["sh", "-c", SCRIPT], "pull": "never"}
        view = daemon.put(place, desired)
        assert view["changed"], view
        said = daemon.post(f"{place}/exec", {"args": ["sh", "-c", "echo $((6 * 7)); exit 3"]})
        assert (said["exit_code"], said["stdout"]) == (3, "42\n"), said
        if number % 2:  # the others are killed by their deletion
            daemon.post(f"{place}/kill", {"signal": "KILL"})
            ended = daemon.get(f"{place}/wait")
            assert ended["exit_code"] == 137, ended
        self._delete(place)

    def _delete(self, place: str) -> None:
        try:
            self.daemon.delete(place, force=True)
        except ApiError as error:
            if error.status != 404:
                raise

    # ------------------------------------------------------------ the agent
    def _kill_agent(self) -> None:
        """Kill it while the other cycles are under way, and start it again."""
        self._up.clear()
        self._kills += 1
        self.daemon.kill()
        self.daemon.start()
        self._up.set()

    def _settled(self, before: Inventory | None) -> Inventory:
        """Return what there is once everything that follows an answer is done: nothing more than `before`,
        or what stays.
        """
        deadline = time.monotonic() + SETTLING
        found, last = None, None
        while time.monotonic() < deadline:
            busy = self.daemon.get("/v1/info")["statistics"]["supervisor"]
            self.daemon.post("/v1/gc")
            last, found = found, look(self.daemon, self.namespace)
            if not busy["tidying"] and not busy["live"]:
                if before is None and found == last and not found.cgroups:
                    return found
                if before is not None and not any(found.since(before).values()):
                    return found
            time.sleep(0.25)
        assert found is not None
        return found
