"""The lab's files: keys, how ssh reaches each node, how many nodes there are, a directory for each."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from lab.disk import make_key
from lab.topology import LabError, Node

SSH_HOST = """\
Host {name}
  HostName {address}
  User root
  IdentityFile {directory}/id
  IdentitiesOnly yes
  UserKnownHostsFile {directory}/known_hosts
  StrictHostKeyChecking yes
  ServerAliveInterval 10
"""


def remove_tree(path: Path, timeout: float = 20.0) -> None:
    """Remove a directory where what outlived a killed run may still write; LabError if it stays."""
    deadline = time.monotonic() + timeout
    while True:
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        if time.monotonic() > deadline:
            raise LabError(f"{path} can't be removed")
        time.sleep(0.1)


@frozen
class State:
    """`directory` is the lab's; others read `lab.json`, `id`, `known_hosts` and `ssh_config` in it."""

    directory: Path

    @property
    def key(self) -> Path:
        return self.directory / "id"

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"

    @property
    def control_sockets(self) -> Path:
        """Return where Ansible's connections to the nodes wait for the next task."""
        return self.directory / "cp"

    def node(self, name: str) -> Path:
        return self.directory / "nodes" / name

    def nodes(self) -> list[str]:
        """Return the names of the nodes that are there as a whole, running or not."""
        return sorted(path.name for path in self.directory.glob("nodes/[!.]*"))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one that changes the lab; LabError at once if another does."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory.with_suffix(".lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError("another `make lab` or `make lab-down` is at work on this lab") from None
            yield

    def prepare(self) -> None:
        """Make the lab's directories and its key; what a killed run has half made of a node goes."""
        for leftover in self.directory.glob("nodes/.*"):
            remove_tree(leftover)
        for directory in ("nodes", "cp"):
            (self.directory / directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        make_key(self.key)

    def write(self, nodes: Iterable[Node], count: int) -> None:
        """Tell ssh, and the inventory, which nodes there are; they have to be laid out."""
        hosts, keys = [], []
        for node in nodes:
            hosts.append(SSH_HOST.format(name=node.name, address=node.address, directory=self.directory))
            keys.append(f"{node.address},{node.name} {(self.node(node.name) / 'host_key.pub').read_text()}")
        for path, text in (
            (self.directory / "known_hosts", "".join(keys)),
            (self.ssh_config, "\n".join(hosts)),
            (self.directory / "lab.json", json.dumps({"count": count})),
        ):
            half = path.with_suffix(".new")
            half.write_text(text)
            half.rename(path)

    def remove(self) -> None:
        """Remove what the lab has written, and the directory unless somebody else has put something there."""
        for name in ("nodes", "cp"):
            remove_tree(self.directory / name)
        for name in ("id", "id.pub", "known_hosts", "ssh_config", "lab.json"):
            (self.directory / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    def count(self) -> int | None:
        """Return how many nodes the lab was brought up with, None if it is not there."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            return int(json.loads((self.directory / "lab.json").read_text())["count"])
        return None
