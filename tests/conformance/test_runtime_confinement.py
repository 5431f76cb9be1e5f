"""What a container can't do by default, under every OCI runtime: devices, kernel files, limits, system calls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tricorn.errors import FailedPrecondition
from tricorn.model.requests import Rlimit
from tricorn_testing.containers import Node

pytestmark = [pytest.mark.integration, pytest.mark.root]
SCRIPT = """
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name yes"; else echo "$name no"; fi; }
b=/bin/busybox
$b mknod /tmp/mem c 1 1; $b mknod /tmp/zero c 1 5
try mem $b head -c 1 /tmp/mem
try zero $b head -c 1 /tmp/zero
try sysctl sh -c 'echo 1 > /proc/sys/kernel/panic'
try trigger sh -c 'echo h > /proc/sysrq-trigger'
masked="/proc/kcore /proc/keys /proc/interrupts /proc/timer_list"
echo "masked $(cat $masked 2>/dev/null | head -c 1 | wc -c)"
echo "firmware $(ls /sys/firmware | wc -l)"
echo "files $(ulimit -Sn) $(ulimit -Hn)"
try mount mount -t tmpfs none /run
try unshare unshare -U true
rm -f /tmp/mem /tmp/zero
"""


async def test_defaults(node: Node) -> None:
    _, out, errors = await node.run("sh", "-c", SCRIPT, rlimits=(Rlimit("nofile", 64, 128),))
    assert dict(line.split(" ", 1) for line in out.decode().splitlines()) == {
        "mem": "no", "zero": "yes", "sysctl": "no", "trigger": "no", "masked": "0", "firmware": "0",
        "files": "64 128", "mount": "no", "unshare": "no",
    }, errors  # fmt: skip


async def test_a_link_in_the_place_of_dev_leads_no_runtime_to_the_nodes_files(
    node: Node, tmp_path: Path
) -> None:
    (node.rootfs / "dev").rmdir()
    (node.rootfs / "dev").symlink_to(f"../../../../../../../../../..{tmp_path}")
    with pytest.raises(FailedPrecondition, match="/dev in it is a symbolic link"):
        await node.start("true")
    assert os.listdir(tmp_path) == []
