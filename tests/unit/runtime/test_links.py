"""What a network namespace has, as the kernel tells it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn.errors import NotFound
from tricorn.runtime import links, netns, network

MAC = "02:00:5e:10:00:01"


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[str]:
    """A network namespace of its own, with a bridge that has addresses of both families."""
    path = str(tmp_path / "net")
    netns.make(path)
    program = "ip link add br9 address {mac} mtu 1400 type bridge && ip address add 10.9.8.1/24 dev br9 && "
    program += "ip address add fd00:9::1/64 dev br9 nodad && ip link set br9 up"
    command = ["nsenter", f"--net={path}", "sh", "-c", program.format(mac=MAC)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        yield path
    finally:
        netns.remove(path)


@pytest.mark.root
def test_interfaces_of_a_namespace(namespace: str) -> None:
    found = {interface["name"]: interface for interface in netns.visit(namespace, links.interfaces)}
    assert found["lo"] == {
        "name": "lo", "mac": "00:00:00:00:00:00", "up": False, "mtu": 65536, "addresses": [],
    }  # fmt: skip
    bridge = found["br9"]
    assert (bridge["mac"], bridge["mtu"], bridge["up"]) == (MAC, 1400, True)
    assert {"10.9.8.1/24", "fd00:9::1/64"} <= set(bridge["addresses"])


@pytest.mark.root
async def test_loopback_is_set_up_once(namespace: str) -> None:
    assert netns.visit(namespace, links.loopback_up)
    assert not netns.visit(namespace, links.loopback_up)
    lo = next(each for each in netns.visit(namespace, links.interfaces) if each["name"] == "lo")
    assert lo["up"]
    assert "127.0.0.1/8" in lo["addresses"]
    await network.loopback_up(namespace)


async def test_the_hosts_own_interfaces() -> None:
    names = {interface["name"] for interface in await network.host_interfaces()}
    assert names == set(os.listdir("/sys/class/net"))


async def test_a_process_that_has_ended() -> None:
    with pytest.raises(NotFound):
        await network.interfaces(0x3FFFFF)
