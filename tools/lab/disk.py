"""A node at rest: its disk, made with what tells it from the others, and the keys to reach it."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.commands import run
from lab.nodefile import NodeFile, disk
from lab.topology import Node, Topology


def node_file(topology: Topology, node: Node, base: Path) -> NodeFile:
    return NodeFile(
        name=node.name, base=str(base), bridge=topology.name, interface=f"{topology.name}-{node.number}",
        address=f"{node.address}/{topology.subnet.prefixlen}", cgroup=f"{topology.cgroup}/{node.name}",
        memory=topology.memory,
    )  # fmt: skip


def make_key(path: Path) -> None:
    if not path.exists():
        half = path.with_name(f".{path.name}")
        for leftover in (half, half.with_suffix(".pub")):
            leftover.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tricorn-lab", "-f", str(half)])
        half.with_suffix(".pub").rename(path.with_suffix(".pub"))
        half.rename(path)


def make(directory: Path, wanted: NodeFile, size: int, public_key: Path) -> None:
    """Lay the node out at `directory`: as a whole, or not at all. `size` is in MiB, mostly holes."""
    half = directory.with_name(f".{directory.name}")
    shutil.rmtree(half, ignore_errors=True)
    for name in ("disk", "root", "seed/work", "seed/data"):
        (half / name).mkdir(parents=True)
    _personality(half / "seed/upper", wanted.name, public_key)
    shutil.copy(half / "seed/upper/etc/ssh/ssh_host_ed25519_key.pub", half / "host_key.pub")
    with open(disk(half), "wb") as image:
        image.truncate(size << 20)
    run([
        "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-d",
        str(half / "seed"), str(disk(half)),
    ])  # fmt: skip
    shutil.rmtree(half / "seed")
    wanted.write(half)
    half.rename(directory)


def _personality(upper: Path, name: str, public_key: Path) -> None:
    """Write what lies over the base: name, host key, and who may log in."""
    for path, mode in (("etc/ssh", 0o755), ("root/.ssh", 0o700)):
        (upper / path).mkdir(parents=True, mode=mode)
    (upper / "root").chmod(0o700)
    (upper / "etc/hostname").write_text(f"{name}\n")
    (upper / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
    make_key(upper / "etc/ssh/ssh_host_ed25519_key")
    shutil.copy(public_key, upper / "root/.ssh/authorized_keys")
    (upper / "root/.ssh/authorized_keys").chmod(0o600)
