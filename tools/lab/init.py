"""Process 1 of a node until systemd is: makes a machine of the namespaces that it is started in.

Started by the keeper in new mount, uts, ipc, pid and net namespaces; its standard input says when the node's
interface is there. Only the standard library, for it starts each time a node boots.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import NamedTuple

from lab import groups
from lab.nodefile import NodeFile, disk

CLONE_NEWCGROUP = 0x02000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 1 << 18
MNT_DETACH = 2
STRICT = MS_NOSUID | MS_NODEV | MS_NOEXEC
DEVICES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0),
    "fuse": (10, 229),
}  # fmt: skip
LINKS = {
    "ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2",
}  # fmt: skip
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "container": "tricorn-lab",
}
_libc = ctypes.CDLL(None, use_errno=True)


class Mount(NamedTuple):
    kind: str
    target: str
    options: str = ""
    flags: int = 0


API = (
    Mount("proc", "proc", flags=STRICT),
    Mount("sysfs", "sys", flags=STRICT),
    Mount("tmpfs", "dev", "mode=755,size=1m", MS_NOSUID),
    Mount("devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=620,gid=5", MS_NOSUID | MS_NOEXEC),
    Mount("tmpfs", "dev/shm", "mode=1777,size=64m", MS_NOSUID | MS_NODEV),
    Mount("tmpfs", "run", "mode=755,size=256m", MS_NOSUID | MS_NODEV),
)


def main() -> None:
    directory = Path(sys.argv[1])
    node = NodeFile.read(directory)
    hierarchies = groups.here()
    groups.join(node.cgroup)
    _checked(_libc.unshare(CLONE_NEWCGROUP), "unshare")
    root = mount_root(directory, node)
    for mount in (*API, *cgroup_mounts(hierarchies)):
        (root / mount.target).mkdir(parents=True, exist_ok=True)
        _mount(mount.kind, str(root / mount.target), mount.kind, mount.flags, mount.options)
    make_devices(root / "dev")
    number_boot(root)
    socket.sethostname(node.name)
    if sys.stdin.readline() != "ready\n":
        sys.exit("the keeper is gone")
    configure_interface(node)
    enter(root)
    os.execve("/sbin/init", ["/sbin/init", "--log-target=console", "--show-status=0"], ENVIRONMENT)


def mount_root(directory: Path, node: NodeFile) -> Path:
    """Mount the node's disk, and on it the root: what the node writes lies over the base that all share.

    An overlay can't keep the upper layers of another: the agent's data gets a directory of the disk itself.
    """
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    own, root = directory / "disk", directory / "root"
    subprocess.run(["mount", "-o", "loop", str(disk(directory)), str(own)], check=True)
    options = f"lowerdir={node.base},upperdir={own}/upper,workdir={own}/work"
    _mount("overlay", str(root), "overlay", 0, options)
    data = root / "var/lib/tricorn"
    data.mkdir(parents=True, exist_ok=True)
    _mount(str(own / "data"), str(data), None, MS_BIND)
    return root


def cgroup_mounts(hierarchies: list[groups.Hierarchy]) -> list[Mount]:
    """Return the mounts of the host's hierarchies; a cgroup namespace shows the node's part of them."""
    places = [str(Path(item.mount).relative_to("/")) for item in hierarchies]
    mounts = [
        Mount(item.kind, place, item.options, STRICT) for item, place in zip(hierarchies, places, strict=True)
    ]
    above = str(groups.ROOT.relative_to("/"))
    return mounts if above in places else [Mount("tmpfs", above, "mode=755,size=1m", STRICT), *mounts]


def make_devices(dev: Path) -> None:
    for name, (major, minor) in DEVICES.items():
        os.mknod(dev / name, 0o020666, os.makedev(major, minor))
        os.chmod(dev / name, 0o666)
    for name, target in LINKS.items():
        (dev / name).symlink_to(target)


def number_boot(root: Path) -> None:
    """Give this boot an id of its own, at which looks who waits for a reboot: the kernel's is the host's."""
    own = root / "run/boot-id"
    own.write_text(f"{uuid.uuid4()}\n")
    _mount(str(own), str(root / "proc/sys/kernel/random/boot_id"), None, MS_BIND)


def configure_interface(node: NodeFile) -> None:
    lines = ["link set lo up", f"addr add {node.address} dev eth0", "link set eth0 up"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def enter(root: Path) -> None:
    """Make `root` the root of this mount namespace and let go of the host's."""
    os.chdir(root)
    (root / "mnt").mkdir(exist_ok=True)
    _checked(_libc.pivot_root(b".", b"mnt"), "pivot_root")
    os.chroot(".")
    os.chdir("/")
    _checked(_libc.umount2(b"/mnt", MNT_DETACH), "umount")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options) or None), f"mount {target}")


def _checked(outcome: int, what: str) -> None:
    if outcome:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    main()
