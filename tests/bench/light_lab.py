"""A lab of light nodes: namespaces, an sshd and an agent each, no systemd and no disk image.

One takes about 55 MB, nearly all of it the agent's. Everything else is the lab's own: bridge, keys, keepers,
cgroups, the inventory plugin, and that nothing is left when it is taken down.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio
import yaml
from lab import disk, topology
from lab.fleet import Lab
from lab.keeper import pid
from lab.nodefile import console
from lab.topology import LabError, Node

from tricorn.fleet import inventory
from tricorn.fleet.looking import Fleet, Wanted

PROJECT: Final = Path(__file__).parents[2]
SOCKET: Final = "/run/tricorn/tricorn.sock"
PATIENCE: Final = 300.0  # seconds for all agents to start


class LightLab(Lab):
    """Lab with nodes that are laid out and started otherwise; `down` is the lab's own."""

    async def _lay_out(self, node: Node, base: Path) -> bool:
        directory = self.state.node(node.name)
        await self._remove(node.name)
        await trio.to_thread.run_sync(
            partial(self._make, directory, disk.node_file(self.topology, node, base))
        )
        return True

    def _make(self, directory: Path, wanted: disk.NodeFile) -> None:
        upper = directory / "disk/upper"
        for name in ("disk/work", "disk/data", "root"):
            (directory / name).mkdir(parents=True)
        for name, mode in (("etc/ssh", 0o755), ("root/.ssh", 0o700)):
            (upper / name).mkdir(parents=True, mode=mode)
        (upper / "root").chmod(0o700)
        (upper / "etc/hostname").write_text(f"{wanted.name}\n")
        disk.make_key(upper / "etc/ssh/ssh_host_ed25519_key")
        shutil.copy(upper / "etc/ssh/ssh_host_ed25519_key.pub", directory / "host_key.pub")
        shutil.copy(self.state.key.with_suffix(".pub"), upper / "root/.ssh/authorized_keys")
        (upper / "root/.ssh/authorized_keys").chmod(0o600)
        wanted.write(directory)

    async def _start(self, node: Node) -> bool:
        directory = self.state.node(node.name)
        await trio.to_thread.run_sync(_spawn_keeper, directory)
        with trio.move_on_after(PATIENCE):
            while not (directory / "disk/data/db/tricorn.db").exists():  # the agent is past its imports
                if pid(directory) is None:
                    raise LabError(f"{node.name} ended:\n{console(directory).read_text()[-2000:]}")
                await trio.sleep(0.1)
        return True


def _spawn_keeper(directory: Path) -> None:
    paths = [str(directory), str(_agent(directory.parents[2])), sysconfig.get_paths()["purelib"]]
    search = os.pathsep.join([str(PROJECT / "tools"), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"}
    with open(console(directory), "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "light_keeper", *paths], cwd="/", env=environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    while pid(directory) is None and process.poll() is None:
        trio.from_thread.run(trio.sleep, 0.01)


@contextmanager
def running_light_lab(
    directory: Path, count: int, name: str, subnet: str, agent: Path = PROJECT / "agent"
) -> Iterator[Path]:
    """Have `count` light nodes whose agents answer for the length of the context; give the inventory's file."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copytree(agent / "tricorn", _agent(directory) / "tricorn")  # whoever edits meanwhile
    file = directory / "lab.yml"
    document = {
        "plugin": "tricorn.containerd.lab", "name": name, "subnet": subnet, "count": count, "state": "state",
        "registry": False,
    }  # fmt: skip
    file.write_text(yaml.safe_dump(document))
    lab = LightLab(topology.read(file), PROJECT / ".lab", lambda _node, _text: None)
    try:
        trio.run(lab.up)
        trio.run(_answering, file)
        yield file
    finally:
        trio.run(lab.down)


def _agent(directory: Path) -> Path:
    """Return where the agent is that all nodes of the lab in `directory` run."""
    return directory / "agent"


async def _answering(file: Path) -> None:
    places = await trio.to_thread.run_sync(inventory.read, [str(file)], "", SOCKET)
    fleet = Fleet(places, timeout=60.0)
    try:
        with trio.fail_after(PATIENCE):
            while (view := await fleet.look(Wanted())).unreached:
                print(f"{len(view.unreached)} wait: {view.unreached[0].error}", file=sys.stderr)
                await trio.sleep(1)
    finally:
        await fleet.close()


def gateway(file: Path) -> str:
    """Return this machine's address on the lab's bridge."""
    return str(topology.read(file).subnet[1])


def memory_of(file: Path) -> int:
    """Return the bytes that all nodes use together, as their cgroups count it."""
    from lab import groups

    lab = topology.read(file)
    return sum(groups.memory(f"{lab.cgroup}/{node.name}") for node in lab.nodes)
