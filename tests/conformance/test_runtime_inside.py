"""What a container finds inside, under every OCI runtime: limits of its own, mounts, a network."""

from __future__ import annotations

import os

import pytest

from tricorn.model.requests import Mount, Resources, Rlimit
from tricorn.runtime import network

pytestmark = [pytest.mark.integration, pytest.mark.root]
WAIT = 20


async def test_the_default_container_is_confined(node):
    script = (
        "grep -E 'CapInh|CapEff|NoNewPrivs|Seccomp:|SigIgn' /proc/self/status; ls /proc/self/fd; "
        "cat /proc/keys; umount /proc 2>&1; unshare -U true 2>&1; ls /sys/devices/virtual/powercap 2>/dev/null; hostname 2>/dev/null; env"
    )
    _ended, out, _ = await node.run("sh", "-c", script, name=f"conf-{node.name}-{os.getpid()}")
    text = out.decode()
    assert "CapInh:\t0000000000000000" in text
    assert "CapEff:\t00000000a80425fb" in text
    assert "NoNewPrivs:\t1" in text
    assert "Seccomp:\t2" in text
    assert "Operation not permitted" in text
    assert "\n0\n1\n2\n3\n" in text  # 3 is the listing's own
    assert "\n4\n" not in text
    assert "TRICORN" not in text
    assert "_OCI" not in text


async def test_containers_after_the_first_have_the_same_filter(node):
    """crun gets the filter that it compiled for the first one."""
    script = "grep Seccomp_filters /proc/self/status; unshare -U true 2>&1; echo done"
    outputs = [(await node.run("sh", "-c", script))[1] for _ in range(3)]
    assert "Seccomp_filters:\t1" in outputs[0].decode()
    assert b"Operation not permitted" in outputs[0]
    assert outputs[0] == outputs[1] == outputs[2]


async def test_a_private_network_has_its_loopback_up(node):
    _ref, created = await node.start("sleep", "100")
    found = await network.interfaces(created.init.pid)
    assert [(entry["name"], entry["up"]) for entry in found] == [("lo", True)]
    assert "127.0.0.1/8" in found[0]["addresses"]
    assert not await network.ensure_loopback(created.init.pid)


async def test_mounts_devices_sysctls_and_limits_are_there(node, short_path):
    source = short_path / "data"
    source.mkdir()
    (source / "file").write_text("from the node")
    script = (
        "cat /data/file; touch /data/new 2>&1; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ulimit -n; "
        "touch /rooted 2>&1; echo x > /scratch/y && cat /scratch/y; ls -l /dev/zed"
    )
    ended, out, err = await node.run(
        "sh", "-c", script,
        mounts=(Mount("/data", str(source), options=("ro",)), Mount("/scratch", type="tmpfs", options=("size=1m",))),
        sysctls={"net.ipv4.ip_unprivileged_port_start": "80"}, rlimits=(Rlimit("nofile", 512, 512),),
        read_only=True, devices=("/dev/zero:/dev/zed:r",),
        resources=Resources(memory=64 * 2**20, pids=50, cpus=0.5, cpu_shares=512),
    )  # fmt: skip
    lines = out.decode().split("\n")
    assert ended.code == 0, err
    assert lines[0].startswith("from the node")
    assert "Read-only file system" in out.decode()
    assert "80" in lines
    assert "512" in lines
    assert "x" in lines
    assert lines[-1].startswith("cr")


async def test_a_container_that_uses_too_much_memory_is_noted_as_such(node):
    ended, _, _ = await node.run(
        "sh", "-c", "x=$(yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -c 200000000); echo ${#x}",
        resources=Resources(memory=16 * 2**20),
    )  # fmt: skip
    assert ended.oom_killed
    assert ended.code != 0
