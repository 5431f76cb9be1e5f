"""A node for tests of networks: an agent in a network namespace of its own, and a world beyond it.

Bridges, packet rules and settings of the kernel are the namespace's and go with it, so nothing of the machine's
own network is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.daemon import Daemon
from tricorn_testing.images import ImageLayout, busybox_image
from tricorn_testing.netns import inside, named_netns
from tricorn_testing.paths import found, short_directory
from tricorn_testing.waiting import eventually

IMAGE = "docker.io/library/busybox:1"
NODE, WORLD = "198.51.100.1", "198.51.100.2"
NODE6, WORLD6 = "2001:db8:51::1", "2001:db8:51::2"
_TIMEOUT = 30.0


class NetworkNode(Daemon):
    """The agent; `netns` is its network namespace, `world` that of a neighbour of the node."""

    def __init__(self, directory: Path, netns: str, world: str, config: str = "") -> None:
        super().__init__(directory, config=config)
        self.netns = netns
        self.world = world

    @property
    def command(self) -> list[str]:
        return ["nsenter", f"--net={self.netns}", *super().command]

    def run(self, *command: str) -> str:
        """Return what a command prints in the node's network namespace."""
        return subprocess.run(
            ["nsenter", f"--net={self.netns}", *command], check=True, capture_output=True, text=True
        ).stdout

    def links(self) -> set[str]:
        """Return the node's interfaces, but loopback and the way to the world."""
        found = json.loads(self.run("ip", "-j", "link"))
        return {link["ifname"] for link in found} - {"lo", "uplink"}

    def rules(self) -> str:
        return self.run("nft", "list", "ruleset")

    def ask(self, address: str, port: int, *, netns: str = "") -> str:
        """Return what is said at an address to who connects, from the node or from another namespace; wait
        for somebody to say something there.
        """

        def connect() -> str:
            try:
                with socket.create_connection((address, port), timeout=_TIMEOUT) as stream:
                    return b"".join(iter(lambda: stream.recv(4096), b"")).decode()
            except (ConnectionError, TimeoutError):
                return ""

        found = ""

        def heard() -> bool:
            nonlocal found
            found = inside(netns or self.netns, connect)
            return bool(found)

        eventually(heard)
        return found

    def run_container(self, name: str, script: str = "exec sleep 1000", **more: Any) -> dict[str, Any]:
        body = {"image": IMAGE, "pull": "never", "args": ["sh", "-c", script], **more}
        found: dict[str, Any] = self.put(f"/v1/default/containers/{name}", body)
        return found

    def setting(self, name: str, value: str = "") -> str:
        """Return a setting of the kernel in the node's network namespace, "" for none, after setting `value`."""

        def visit() -> str:
            with contextlib.suppress(FileNotFoundError):
                if value:
                    Path(f"/proc/sys/net/{name}").write_text(value)
                return Path(f"/proc/sys/net/{name}").read_text().strip()
            return ""

        return inside(self.netns, visit)

    def is_clear(self) -> bool:
        """Return whether nothing is left of containers' places in networks."""
        places = [each for network in self.get("/v1/networks")["items"] for each in network["containers"]]
        pairs = [name for name in self.links() if name.startswith("tv")]
        pinned = re.findall(rf"{self.state}/networks/\S+", Path("/proc/self/mountinfo").read_text())
        directories = found(self.state / "networks", "*/*")
        return not any((places, pairs, pinned, directories, "tricorn" in self.rules()))

    def words_of(self, name: str, script: str) -> str:
        """Return what a shell in a container prints."""
        done = self.post(f"/v1/default/containers/{name}/exec", {"args": ["sh", "-c", script]})
        return str(done["stdout"])


@contextlib.contextmanager
def network_node(config: str = "") -> Iterator[NetworkNode]:
    """Yield a node with an image; `config` may name {directory}. Skips where there is no nft."""
    if shutil.which("nft") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no nft: apt-get install nftables")
    with named_netns() as netns, named_netns() as world, short_directory() as directory:
        _connect(netns, world)
        node = NetworkNode(directory, netns, world, config.replace("{directory}", str(directory)))
        try:
            node.start()
            node.put("/v1/default/archive/import", {"path": str(_archive(directory))})
            yield node
        except BaseException:
            print(node.log[-8000:])
            raise
        finally:
            node.clean_up()


def _connect(netns: str, world: str) -> None:
    node_name, world_name = Path(netns).name, Path(world).name
    for command in (
        f"link add uplink netns {node_name} type veth peer name uplink netns {world_name}",
        f"-n {node_name} addr add {NODE}/24 dev uplink",
        f"-n {world_name} addr add {WORLD}/24 dev uplink",
        f"-n {node_name} addr add {NODE6}/64 dev uplink nodad",
        f"-n {world_name} addr add {WORLD6}/64 dev uplink nodad",
        f"-n {node_name} link set uplink up",
        f"-n {world_name} link set uplink up",
    ):
        subprocess.run(["ip", *command.split()], check=True)


def _archive(directory: Path) -> Path:
    layout = ImageLayout(directory / "layout")
    busybox_image(layout, IMAGE)
    path = directory / "busybox.tar"
    subprocess.run(["tar", "-C", str(directory / "layout"), "-cf", str(path), "."], check=True)
    return path


@contextlib.contextmanager
def greeter(netns: str, address: str, port: int) -> Iterator[None]:
    """In a network namespace, tell whoever connects which address he comes from."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = inside(netns, lambda: socket.create_server((address, port), family=family))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, peer = listener.accept()
                with stream:
                    stream.sendall(f"{peer[0]}\n".encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
