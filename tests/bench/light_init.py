"""Process 1 of a light node: what tools/lab/init.py does, but with a directory for a disk and no systemd.

The agent is the checkout's own, on the base system's Python; usage: light_init DIRECTORY AGENT SITE-PACKAGES
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Final

from lab import groups, init
from lab.nodefile import NodeFile

SCRIPT: Final = """\
mkdir -p /run/sshd
/usr/sbin/sshd
python3 -m tricorn
exit
"""  # the node ends with its agent
ENVIRONMENT: Final = {
    **init.ENVIRONMENT,
    "HOME": "/root",
    "PYTHONPATH": "/opt/tricorn/agent:/opt/tricorn/site",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def main() -> None:
    directory, agent, site = map(Path, sys.argv[1:])
    node = NodeFile.read(directory)
    hierarchies = groups.here()
    groups.join(node.cgroup)
    init._checked(init._libc.unshare(init.CLONE_NEWCGROUP), "unshare")
    root = mount_root(directory, node, {"agent": agent, "site": site})
    for mount in (*init.API, *init.cgroup_mounts(hierarchies)):
        (root / mount.target).mkdir(parents=True, exist_ok=True)
        init._mount(mount.kind, str(root / mount.target), mount.kind, mount.flags, mount.options)
    init.make_devices(root / "dev")
    socket.sethostname(node.name)
    if sys.stdin.readline() != "ready\n":
        sys.exit("the keeper is gone")
    init.configure_interface(node)
    init.enter(root)
    os.execve("/bin/sh", ["/bin/sh", "-c", SCRIPT], ENVIRONMENT)


def mount_root(directory: Path, node: NodeFile, brought: dict[str, Path]) -> Path:
    init._mount(None, "/", None, init.MS_REC | init.MS_PRIVATE)
    own, root = directory / "disk", directory / "root"
    options = f"lowerdir={node.base},upperdir={own}/upper,workdir={own}/work"
    init._mount("overlay", str(root), "overlay", 0, options)
    binds = {
        "var/lib/tricorn": own / "data",
        **{f"opt/tricorn/{name}": path for name, path in brought.items()},
    }
    for target, source in binds.items():
        (root / target).mkdir(parents=True, exist_ok=True)
        init._mount(str(source), str(root / target), None, init.MS_BIND)
    return root


if __name__ == "__main__":
    main()
