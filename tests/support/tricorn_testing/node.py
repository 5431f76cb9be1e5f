"""A node of its own on this machine: systemd as process 1 of own namespaces, reached over real ssh.

Its network is its loopback interface alone, which ssh enters through the node's network namespace; so does
a server that the node shall reach (`Node.serves`).
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define, field

from tricorn_testing import cgroups
from tricorn_testing.paths import short_directory

INIT = Path(__file__).with_name("node_init.sh")
CGROUPS = Path("/sys/fs/cgroup")
# $1: what to become; the rest: cgroups to join first, for the namespace begins where the process is.
ENTER = 'init=$1; shift; for group; do echo $$ >"$group/cgroup.procs" || exit; done; exec $init'
UNSHARE = "setpriv --pdeathsig=KILL unshare --mount --uts --ipc --pid --cgroup --net --fork --kill-child"


@define
class Node:
    """A node whose files are below `directory`; they outlive its boots. `state` is its /var/lib/tricorn."""

    directory: Path
    base: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def ssh(self) -> str:
        """Path of an ssh that talks from inside the node's network, with its key and its known hosts."""
        return str(self.directory / "ssh")

    def prepare(self) -> None:
        """Lay out the directories and the keys of both ends."""
        for name in ("work", "root", "state", "upper/root/.ssh", "upper/etc/ssh"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "upper").chmod(0o755)
        host_key = self.directory / "upper/etc/ssh/ssh_host_ed25519_key"
        for key in (host_key, self.directory / "id"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        shutil.copy(self.directory / "id.pub", self.directory / "upper/root/.ssh/authorized_keys")
        for name, mode in (("root", 0o700), ("root/.ssh", 0o700), ("root/.ssh/authorized_keys", 0o600)):
            (self.directory / "upper" / name).chmod(mode)
        (self.directory / "known_hosts").write_text(f"127.0.0.1 {host_key.with_suffix('.pub').read_text()}")
        (self.directory / "upper/etc/hostname").write_text(f"{self.name}\n")

    def boot(self, timeout: float = 30.0) -> None:
        """Start the node; return once systemd has finished. TimeoutError with its console otherwise."""
        groups = _make_cgroups(self.name, self.directory / "cgroups")
        become = f"{UNSHARE} {INIT} {self.base} {self.directory} {self.name}"
        with open(self.directory / "console", "wb") as console:
            self._process = subprocess.Popen(
                ["sh", "-c", ENTER, "sh", become, *groups],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip
        self._write_ssh(self._process.pid)
        deadline = time.monotonic() + timeout
        while "running" not in (state := self.attempt("systemctl is-system-running").stdout):
            if time.monotonic() > deadline or self._process.poll() is not None:
                failed = self.attempt("systemctl --failed --no-legend --plain; systemctl list-jobs").stdout
                text = (self.directory / "console").read_text(errors="replace")
                raise TimeoutError(f"the node isn't up: {state}\n{failed}\n{text[-4000:]}")
            time.sleep(0.1)

    def _write_ssh(self, pid: int) -> None:
        options = (
            f"-F /dev/null -i {self.directory}/id -o UserKnownHostsFile={self.directory}/known_hosts "
            "-o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=10 -o LogLevel=ERROR -o User=root"
        )
        script = self.directory / "ssh"
        script.write_text(f'#!/bin/sh\nexec nsenter --net=/proc/{pid}/ns/net ssh {options} "$@"\n')
        script.chmod(0o755)

    def attempt(self, command: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the node, whatever becomes of it."""
        return subprocess.run(
            [self.ssh, "127.0.0.1", command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip

    def run(self, command: str, timeout: float = 60.0) -> str:
        """Return a command's output without the last line's end; AssertionError if it fails."""
        done = self.attempt(command, timeout)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.rstrip("\n")

    @contextlib.contextmanager
    def serves(self, address: str, command: Sequence[str]) -> Iterator[None]:
        """Run a server of this machine in the node's network, once it listens on `address`."""
        assert self._process is not None
        network = f"--net=/proc/{self._process.pid}/ns/net"
        server = subprocess.Popen(
            ["nsenter", network, *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = address.rpartition(":")[2]
            self.run(f"timeout 20 sh -c 'until ss -Hltn sport = :{port} | grep -q .; do sleep 0.1; done'")
            yield
        finally:
            server.kill()
            server.wait()

    def power_off(self, timeout: float = 120.0) -> None:
        """Shut the node down as its administrator would; TimeoutError if it doesn't go."""
        assert self._process is not None
        self.attempt("systemctl poweroff")
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            text = (self.directory / "console").read_text(errors="replace")
            raise TimeoutError(f"the node doesn't go down:\n{text[-4000:]}") from None
        self.kill()

    def kill(self) -> None:
        """End every process of the node at once, and remove its cgroups."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
        cgroups.remove(cgroups.cgroups_naming(f"/{self.name}"), timeout=5.0)


def _make_cgroups(name: str, table: Path) -> list[str]:
    """Make a cgroup `name` in every hierarchy; tell in `table` how a node mounts its own view of them."""
    groups, lines = [], []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        mount = Path(fields.split()[4])
        if kind not in {"cgroup", "cgroup2"} or CGROUPS not in (mount, *mount.parents):
            continue
        group = mount / name
        group.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if kind == "cgroup" and (mount / file).exists():
                (group / file).write_text((mount / file).read_text())
        chosen = [option for option in options.split(",") if option not in {"rw", "ro"}]
        if kind == "cgroup2":
            chosen = ["rw"]
        elif any(option.startswith("name=") for option in chosen):
            chosen.insert(0, "none")
        groups.append(str(group))
        lines.append(f"{kind} {','.join(chosen)} {mount.relative_to(CGROUPS)}\n")
    table.write_text("".join(lines))
    return groups


@contextlib.contextmanager
def running_node(base: Path) -> Iterator[Node]:
    """Boot a node for the length of the context; nothing of it is left."""
    with short_directory() as directory:
        node = Node(directory, base)
        node.prepare()
        try:
            node.boot()
            yield node
        finally:
            node.kill()
