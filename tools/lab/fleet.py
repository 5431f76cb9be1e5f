"""The lab as a whole: brought to the wanted state, looked at, taken away. Nodes side by side."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio
from attrs import frozen

from lab import bridge, disk, groups, keeper
from lab.base import base_directory
from lab.nodefile import NodeFile, console
from lab.nodefile import disk as disk_file
from lab.state import State, remove_tree
from lab.topology import LabError, Node, Topology

TOOLS = Path(__file__).parents[1]
AT_ONCE = max(4, 2 * (os.cpu_count() or 1))  # nodes worked at: booting is mostly processor time
PATIENCE = 120.0  # seconds for one node to boot, on a machine that has other things to do
T = TypeVar("T")
Tell = Callable[[str, str], None]


@frozen
class NodeStatus:
    """`state` is systemd's word, "starting" before sshd answers, or "off"; `memory` and `disk` in bytes."""

    name: str
    address: str
    state: str
    pid: int | None
    memory: int
    disk: int


@frozen
class Lab:
    """The nodes of `topology`. `tell` is called with a node's name and what has happened to it."""

    topology: Topology
    cache: Path
    tell: Tell

    @property
    def state(self) -> State:
        return State(self.topology.state)

    # ------------------------------------------------------------ up
    async def up(self) -> bool:
        """Have exactly the topology's nodes, each booted and reached over ssh; return whether it took work.

        Takes up what an interrupted run has left. LabError for the first thing that can't be had.
        """
        with self.state.held():
            base = await trio.to_thread.run_sync(base_directory, self.cache)
            changed = await self._remove_others()
            self.state.prepare()
            changed |= bridge.ensure(self.topology)
            made = await _side_by_side([partial(self._lay_out, node, base) for node in self.topology.nodes])
            self.state.write(self.topology.nodes, self.topology.count)
            started = await _side_by_side([partial(self._start, node) for node in self.topology.nodes])
        return changed or any(made) or any(started)

    async def _remove_others(self) -> bool:
        wanted = {node.name for node in self.topology.nodes}
        others = [name for name in self.state.nodes() if name not in wanted]
        return any(await _side_by_side([partial(self._remove, name) for name in others]))

    async def _lay_out(self, node: Node, base: Path) -> bool:
        directory = self.state.node(node.name)
        wanted = disk.node_file(self.topology, node, base)
        with contextlib.suppress(OSError, ValueError, TypeError):
            if NodeFile.read(directory) == wanted:
                return False
        await self._remove(node.name)
        size, key = self.topology.disk, self.state.key.with_suffix(".pub")
        await trio.to_thread.run_sync(disk.make, directory, wanted, size, key)
        return True

    async def _start(self, node: Node) -> bool:
        """Boot the node if nobody keeps it, and wait until systemd has finished."""
        directory = self.state.node(node.name)
        began, booted = trio.current_time(), keeper.pid(directory) is None
        if booted:
            console(directory).unlink(missing_ok=True)
            groups.remove(f"{self.topology.cgroup}/{node.name}")
            await trio.to_thread.run_sync(_spawn_keeper, directory)
        await self._wait(node)
        if booted:
            self.tell(node.name, f"up after {trio.current_time() - began:.1f} s at {node.address}")
        return booted

    async def _wait(self, node: Node) -> None:
        deadline = trio.current_time() + PATIENCE
        while (state := await self._systemd_state(node)) not in {"running", "degraded"}:
            if trio.current_time() > deadline or keeper.pid(self.state.node(node.name)) is None:
                text = console(self.state.node(node.name)).read_text(errors="replace")[-2000:]
                raise LabError(f"{node.name} doesn't boot ({state}):\n{text}", "make lab-down, then make lab")
            await trio.sleep(0.1)
        if state == "degraded":  # by what somebody has installed: the node can be reached all the same
            failed = await self.ssh(node.name, "systemctl --failed --no-legend --plain")
            self.tell(node.name, f"units failed: {failed.stdout.decode().strip()}")

    async def _systemd_state(self, node: Node) -> str:
        if keeper.pid(self.state.node(node.name)) is None and not await _answers(node):
            return "off"
        if not await _answers(node):
            return "starting"
        told = await self.ssh(node.name, "systemctl is-system-running --wait")
        return told.stdout.decode().strip() or "starting"

    async def ssh(self, name: str, command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a shell command on a node as anybody with the lab's key would, whatever becomes of it."""
        words = ["ssh", "-F", str(self.state.ssh_config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
        return await trio.run_process(
            [*words, name, command], check=False, capture_stdout=True, capture_stderr=True
        )

    # ------------------------------------------------------------ down
    async def down(self) -> bool:
        """Take away all that the lab has put on this machine but the base; return whether it was there.

        LabError tells what can't be removed.
        """
        if not self.state.directory.exists() and not self._traces():
            return False
        with self.state.held():
            await _side_by_side([partial(self._remove, name) for name in self.state.nodes()])
            await trio.to_thread.run_sync(self._close_connections)
            bridge.remove(self.topology.name)
            left = await trio.to_thread.run_sync(groups.remove, self.topology.cgroup)
            if left:
                raise LabError(f"these cgroups can't be removed: {', '.join(left)}")
            self.state.remove()
        return True

    def _traces(self) -> bool:
        groups_left = any(Path(item.mount, self.topology.cgroup).exists() for item in groups.here())
        return groups_left or bridge.exists(self.topology.name)

    async def _remove(self, name: str) -> bool:
        """End the node and delete it; what a killed run left of it, too. Returns whether it was there."""
        directory = self.state.node(name)
        there = directory.exists()
        await trio.to_thread.run_sync(_end, directory, f"{self.topology.cgroup}/{name}")
        for path in (directory, directory.with_name(f".{name}")):
            await trio.to_thread.run_sync(remove_tree, path)
        if there:
            self.tell(name, "removed")
        return there

    def _close_connections(self) -> None:
        """End the ssh masters that Ansible keeps: at the same addresses other nodes may come."""
        for path in self.state.control_sockets.glob("*"):
            command = ["ssh", "-o", f"ControlPath={path}", "-O", "exit", "-"]
            subprocess.run(command, capture_output=True, timeout=10, check=False)

    # ------------------------------------------------------------ status
    async def status(self) -> list[NodeStatus]:
        """Look at each node of the topology and at those beyond it."""
        nodes = [node for node in self.topology.nodes if self.state.node(node.name).exists()]
        return list(await _side_by_side([partial(self._look, node) for node in nodes]))

    async def _look(self, node: Node) -> NodeStatus:
        directory = self.state.node(node.name)
        return NodeStatus(
            node.name, node.address, await self._systemd_state(node), keeper.pid(directory),
            groups.memory(f"{self.topology.cgroup}/{node.name}"), disk_file(directory).stat().st_blocks * 512,
        )  # fmt: skip


async def _answers(node: Node) -> bool:
    """Return whether an sshd talks at the node's address."""
    with trio.move_on_after(5), contextlib.suppress(OSError):
        async with await trio.open_tcp_stream(node.address, 22) as stream:
            return (await stream.receive_some(4)).startswith(b"SSH-")
    return False


def _spawn_keeper(directory: Path) -> None:
    """Start the process that keeps the node; it outlives this one, and holds nothing of it."""
    environment = {**os.environ, "PYTHONPATH": str(TOOLS), "PYTHONDONTWRITEBYTECODE": "1"}
    with open(console(directory), "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "lab.keeper", str(directory)], cwd="/", env=environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    while keeper.pid(directory) is None and process.poll() is None:
        time.sleep(0.01)


def _end(directory: Path, group: str) -> None:
    if (pid := keeper.pid(directory)) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if left := groups.remove(group):
        raise LabError(f"these cgroups can't be removed: {', '.join(left)}")


async def _side_by_side(work: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Do all of it, a few at a time, and return the outcomes in order; the first LabError stops the rest."""
    outcomes: dict[int, T] = {}
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(index: int) -> None:
        async with limiter:
            outcomes[index] = await work[index]()

    try:
        async with trio.open_nursery() as nursery:
            for index in range(len(work)):
                nursery.start_soon(one, index)
    except* LabError as group:
        raise _first(group) from None
    return [outcomes[index] for index in range(len(work))]


def _first(group: BaseExceptionGroup[LabError]) -> LabError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, LabError)
    return error
