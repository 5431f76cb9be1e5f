"""Two nodes whose networks share a segment: agents in network namespaces of their own, a way between them that
can be cut, their bridges connected, and a neighbour in the segment that is neither of them.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from tricorn_testing.certificates import Certificates, issue, make_certificates
from tricorn_testing.criu import criu_config, need_criu
from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_files
from tricorn_testing.migrating import NS
from tricorn_testing.netns import named_netns
from tricorn_testing.network_node import NetworkNode
from tricorn_testing.paths import short_directory

IMAGE = "docker.io/library/workload:1"
SUBNET, NEIGHBOUR = "10.40.0.0/24", "10.40.0.200"
_HERE, _THERE, _PORT = "198.51.100.1", "198.51.100.2", 5443


@frozen
class Segment:
    """`source` knows `target` as the node `there`. Both have the network `front`; `neighbour` is a network
    namespace with an address of it.
    """

    source: NetworkNode
    target: NetworkNode
    neighbour: str

    @property
    def both(self) -> tuple[NetworkNode, NetworkNode]:
        return self.source, self.target

    def migrate(self, name: str, **wanted: Any) -> dict[str, Any]:
        return dict(self.source.post(f"/v1/{NS}/containers/{name}/migrate", {"to": "there", **wanted}))

    def cut(self) -> None:
        self.source.run("ip", "link", "set", "uplink", "down")

    def mend(self) -> None:
        self.source.run("ip", "link", "set", "uplink", "up")

    def address(self, node: NetworkNode, name: str) -> str:
        return self.addresses(node, name)[0]

    def addresses(self, node: NetworkNode, name: str) -> list[str]:
        return list(node.get(f"/v1/{NS}/containers/{name}")["attachment"]["addresses"])


@contextlib.contextmanager
def shared_segment(rule: str, more: str = "") -> Iterator[Segment]:
    """Run both nodes for the length of the context; `rule` is what the target's configuration grants, `more`
    what both say besides ({directory} is the agent's own). Skips where containers can't be dumped.
    """
    need_criu()
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        spaces = [enter(named_netns()) for _ in range(3)]
        directories = [enter(short_directory()) for _ in range(3)]
        certificates = make_certificates(directories[2] / "pki")
        _pair(spaces[0], "uplink", _HERE, spaces[1], "uplink", _THERE)
        nodes = []
        for place, (name, address) in enumerate((("here", _HERE), ("there", _THERE))):
            issue(certificates, name, f"DNS:{name}.example,IP:{address}")
            config = _config(directories[place], name, address, certificates, rule) + more.replace(
                "{directory}", str(directories[place])
            )
            nodes.append(NetworkNode(directories[place], spaces[place], spaces[2], config))
        try:
            for node in nodes:
                stack.callback(node.clean_up)
                node.start()
                node.put("/v1/networks/front", {"subnet": SUBNET})
            _join(nodes, spaces[2])
            archive = _archive(directories[2])
            nodes[0].put(f"/v1/{NS}/archive/import", {"path": str(archive)})
            yield Segment(nodes[0], nodes[1], spaces[2])
        except BaseException:
            for node in nodes:
                print(node.log[-6000:])
            raise


def _config(directory: Path, name: str, address: str, certificates: Certificates, rule: str) -> str:
    files = certificates.file
    role = (
        '[peers.nodes]\nthere = "198.51.100.2:5443"\n'
        if name == "here"
        else f"[[peers.migrations]]\n{rule}\n"
    )
    return f"""cgroup = "/{directory.name}"
{criu_config(directory)}
[peers]
listen = "{address}:{_PORT}"
certificate = "{files(f"{name}.crt")}"
key = "{files(f"{name}.key")}"
client_ca = "{certificates.ca}"
patience = 1.0
{role}"""


def _join(nodes: list[NetworkNode], neighbour: str) -> None:
    """Connect the bridges of both nodes, and the neighbour with that of the source."""
    bridges = [str(node.get("/v1/networks/front")["bridge"]) for node in nodes]
    _pair(nodes[0].netns, "segment", "", nodes[1].netns, "segment", "")
    _pair(nodes[0].netns, "beside", "", neighbour, "eth0", NEIGHBOUR)
    for node, bridge, ports in (
        (nodes[0], bridges[0], ("segment", "beside")),
        (nodes[1], bridges[1], ("segment",)),
    ):
        for port in ports:
            node.run("ip", "link", "set", port, "master", bridge)


def share_bridge(segment: Segment, name: str, address: str) -> None:
    """Give both nodes a bridge of this name, connect them, and give the neighbour the address of the segment
    that they are then, with the length of its prefix.
    """
    for node in segment.both:
        node.run("ip", "link", "add", name, "type", "bridge")
        node.run("ip", "link", "set", name, "up")
    _pair(segment.source.netns, f"{name}-s", "", segment.target.netns, f"{name}-s", "")
    _pair(segment.source.netns, f"{name}-n", "", segment.neighbour, name, "")
    for node, ports in ((segment.source, (f"{name}-s", f"{name}-n")), (segment.target, (f"{name}-s",))):
        for port in ports:
            node.run("ip", "link", "set", port, "master", name)
    ip(f"-n {Path(segment.neighbour).name} addr add {address} dev {name} nodad")


def _pair(one: str, name: str, address: str, other: str, other_name: str, other_address: str) -> None:
    spaces = Path(one).name, Path(other).name
    ip(f"link add {name} netns {spaces[0]} type veth peer name {other_name} netns {spaces[1]}")
    for space, interface, text in zip(spaces, (name, other_name), (address, other_address), strict=True):
        if text:
            ip(f"-n {space} addr add {text}/24 dev {interface}")
        ip(f"-n {space} link set {interface} up")


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def _archive(directory: Path) -> Path:
    """An image with a shell, and room for the /usr of this machine."""
    layout = ImageLayout(directory / "layout")
    builder = busybox_files(LayerBuilder()).symlink("lib", "usr/lib").symlink("lib64", "usr/lib64")
    layout.tag(IMAGE, layout.add_image([builder.layer("")], {"Env": ["PATH=/bin:/usr/bin"]}))
    path = directory / "image.tar"
    subprocess.run(["tar", "-C", str(directory / "layout"), "-cf", str(path), "."], check=True)
    return path
