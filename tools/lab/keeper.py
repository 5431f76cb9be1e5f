"""Boots one node, again when it reboots, and ends with it. One process a node; only the standard library.

Everything of a running node hangs on the keeper: the kernel ends the node when its keeper ends, and with the
node's namespaces go its mounts, its loop device and its interface.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lab import groups
from lab.nodefile import NodeFile, console

# How the kernel ends process 1 of a pid namespace: by SIGHUP for a reboot, by SIGINT for a power-off.
REBOOTED = -signal.SIGHUP
PATIENCE = 20.0
FLOCK = "hhlli"  # struct flock: type, whence, start, length, pid


def main() -> None:
    directory = Path(sys.argv[1])
    with holding(directory):
        while boot(directory) == REBOOTED:
            pass


@contextlib.contextmanager
def holding(directory: Path) -> Iterator[None]:
    """Be the node's only keeper: a second one ends at once."""
    with open(directory / "keeper", "a") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(0)
        yield


def pid(directory: Path) -> int | None:
    """Return the process that keeps the node, None if none does; the kernel knows who holds the lock."""
    question = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with contextlib.suppress(FileNotFoundError), open(directory / "keeper", "rb") as lock:
        kind, _, _, _, holder = struct.unpack(FLOCK, fcntl.fcntl(lock, fcntl.F_GETLK, question))
        return None if kind == fcntl.F_UNLCK else int(holder)
    return None


def boot(directory: Path) -> int:
    """Run the node from its boot to its end; return as subprocess tells how its process 1 ended."""
    node = NodeFile.read(directory)
    groups.make(node.cgroup, node.memory)
    with open(console(directory), "ab") as output:
        process = subprocess.Popen(
            command(directory), stdin=subprocess.PIPE, stdout=output, stderr=output, cwd="/",
        )  # fmt: skip
    try:
        connect(node, process)
        return process.wait()
    finally:
        process.kill()
        process.wait()
        groups.remove(node.cgroup)


def command(directory: Path) -> list[str]:
    """Return what starts the node's first process; none of it outlives the keeper."""
    return [
        "setpriv", "--pdeathsig=KILL",
        "unshare", "--mount", "--uts", "--ipc", "--pid", "--net", "--fork", "--kill-child",
        sys.executable, "-S", "-m", "lab.init", str(directory),
    ]  # fmt: skip


def connect(node: NodeFile, process: subprocess.Popen[bytes]) -> None:
    """Lead a cable from the bridge into the node's network namespace, then let the node go on."""
    deadline = time.monotonic() + PATIENCE
    own = os.stat("/proc/self/ns/net").st_ino
    while os.stat(f"/proc/{process.pid}/ns/net").st_ino == own:
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"{node.name} never had a network namespace")
        time.sleep(0.005)
    while not plugged(node, process.pid):  # the one of the last boot may still be on its way out
        if time.monotonic() > deadline:
            raise TimeoutError(f"{node.name} can't be connected to {node.bridge}")
        time.sleep(0.05)
    assert process.stdin is not None
    with process.stdin as ready:
        ready.write(b"ready\n")


def hardware_address(address: str) -> str:
    """Return the address that the interface has at each boot: neighbours remember that of the last one."""
    octets = [int(part) for part in address.partition("/")[0].split(".")]
    return ":".join(f"{octet:02x}" for octet in (0x02, 0x74, *octets))


def plugged(node: NodeFile, process: int) -> bool:
    if os.path.exists(f"/sys/class/net/{node.interface}"):
        subprocess.run(["ip", "link", "del", node.interface], stderr=subprocess.DEVNULL, check=False)
    end = f"name eth0 address {hardware_address(node.address)} netns {process}"
    lines = [
        f"link add {node.interface} type veth peer {end}",
        f"link set {node.interface} master {node.bridge} up",
    ]
    batch = "\n".join(lines)
    return subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
