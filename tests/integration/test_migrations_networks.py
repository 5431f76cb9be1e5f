"""Containers of networks that move between two nodes: addresses, ports and open connections move along."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tricorn_testing.counting_server import counting_server
from tricorn_testing.daemon import ApiError
from tricorn_testing.migrating import NS
from tricorn_testing.moving_networks import IMAGE, Segment, share_bridge, shared_segment
from tricorn_testing.netns import inside
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
PYTHON = "/usr/bin/python3"
USR = {"target": "/usr", "source": "/usr", "options": ["ro"]}
RULE = """names = ["here.example"]
mounts = ["/usr"]
networks = ["front", "back", "both", "alone", "cni:*"]
ports = true"""
LISTS = '[network]\ncni_lists = "{directory}/net.d"\ncni_plugins = "/usr/lib/cni"\n'
SERVER = counting_server('"0.0.0.0"', workers=2)
AT_ALL = counting_server('"::"', workers=2).replace("8080)", "8080), family=socket.AF_INET6", 1)
ARP = socket.htons(0x0806)
# Listens at its own address only, as /etc/hosts tells it.
AT_ITS_ADDRESS = counting_server("socket.gethostbyname(socket.gethostname())", workers=2)


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    with shared_segment(RULE, LISTS) as made:
        for node, bridge in zip(made.both, ("cnihere", "cnithere"), strict=True):
            (node.directory / "net.d").mkdir()
            ipam = {"type": "host-local", "subnet": "10.71.0.0/24", "dataDir": f"{node.directory}/ipam"}
            plugin = {"type": "bridge", "bridge": bridge, "isGateway": True, "ipam": ipam}
            document = {"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}
            (node.directory / "net.d/10-pods.conflist").write_text(json.dumps(document))
        ranges = [[{"subnet": "10.72.0.0/24"}], [{"subnet": "fd72::/64"}]]
        for node in made.both:
            ipam = {"type": "host-local", "ranges": ranges, "dataDir": f"{node.directory}/ipam"}
            plugin = {"type": "bridge", "bridge": "dual", "ipam": ipam}
            document = {"cniVersion": "1.0.0", "name": "dual", "plugins": [plugin]}
            (node.directory / "net.d/20-dual.conflist").write_text(json.dumps(document))
        share_bridge(made, "dual", "fd72::ff/64")
        for name in ("alone", "forbidden"):
            made.source.put(f"/v1/networks/{name}", {})
        yield made


@pytest.fixture
def run(segment: Segment) -> Iterator[Any]:
    """Runs a program at the source; containers are gone at the end, wherever they are."""

    def run(name: str, program: str, network: str = "front", **more: Any) -> None:
        body = {"image": IMAGE, "pull": "never", "args": [PYTHON, "-c", program], "mounts": [USR]}
        segment.source.put(f"/v1/{NS}/containers/{name}", {**body, "network": network, **more})

    yield run
    segment.mend()
    for node in segment.both:
        if node.process is None:
            node.start()
        for item in node.get(f"/v1/{NS}/containers")["items"]:
            node.delete(f"/v1/{NS}/containers/{item['id']}", force=True)


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Makes connections that are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda *where: stack.enter_context(connected(*where))


def connected(netns: str, address: str, port: int = 8080) -> socket.socket:
    """Return a connection, made as soon as somebody listens there."""
    found: list[socket.socket] = []

    def attempt() -> bool:
        try:
            found.append(inside(netns, lambda: socket.create_connection((address, port), timeout=60)))
        except OSError:
            return False
        return True

    eventually(attempt)
    return found[0]


def ask(peer: socket.socket) -> tuple[int, int]:
    peer.sendall(b"x" * 10)
    pid, told = peer.makefile("rb").readline().split()
    return int(pid), int(told)


def test_a_server_keeps_its_connections_where_its_address_moves_along(segment, run, connect):
    run("server", SERVER)
    address = segment.address(segment.source, "server").partition("/")[0]
    clients = [connect(segment.neighbour, address) for _ in range(3)]
    answers = [ask(client) for client in clients]
    with pytest.raises(ApiError, match="--tcp-established"):
        segment.migrate("server")
    done = segment.source.cli("--json", "migrate", "server", "--to", "there", "--tcp-established")
    assert done.returncode == 0, done.stderr
    print(json.loads(done.stdout)["report"])
    assert json.loads(done.stdout)["report"]["address_kept"]
    assert [ask(client) for client in clients] == [(pid, told + 10) for pid, told in answers]
    assert ask(connect(segment.neighbour, address))[1] == 10


def test_ports_move_and_an_address_is_new_where_the_subnet_is_another(segment, run, connect):
    for node, subnet in zip(segment.both, ("10.50.0.0/24", "10.51.0.0/24"), strict=True):
        node.put("/v1/networks/back", {"subnet": subnet})
    ports = [{"host": 8080, "container": 8080}]
    run("web", SERVER, "back", ports=ports)
    with connected(segment.source.netns, "127.0.0.1") as client:
        pid, _ = ask(client)
        with pytest.raises(ApiError, match=r"address 10\.50\.0\.2 can't move along"):
            segment.migrate("web", tcp_established=True)
    eventually(lambda: migrates(segment, "web"))  # once the last connection is gone
    assert segment.address(segment.target, "web") == "10.51.0.2/24"
    assert "10.51.0.2\tweb" in segment.target.words_of("web", "cat /etc/hosts")
    assert ask(connect(segment.target.netns, "127.0.0.1"))[0] in range(pid - 1, pid + 2)  # one of the workers
    run("late", SERVER, "back", ports=ports)
    with pytest.raises(ApiError, match="container web of namespace default has it"):
        segment.migrate("late")
    run("lost", SERVER, "alone")
    with pytest.raises(ApiError, match="network alone does not exist"):
        segment.migrate("lost")
    with pytest.raises(ApiError, match="network forbidden"):
        run("forbidden", SERVER, "forbidden")
        segment.migrate("forbidden")


def migrates(segment: Segment, name: str) -> bool:
    try:
        segment.migrate(name)
    except ApiError as error:
        assert "open connections" in str(error)  # noqa: PT017 - whatever else it is, it isn't over
        return False
    return True


def test_a_network_of_plugins_gives_the_address_that_is_asked_for(segment, run, connect):
    run("other", SERVER, "cni:pods")
    run("pod", AT_ITS_ADDRESS, "cni:pods")
    address = segment.address(segment.source, "pod")
    with connected(segment.source.netns, address.partition("/")[0]) as client:
        pid, _ = ask(client)
    eventually(lambda: migrates(segment, "pod"))
    assert segment.address(segment.target, "pod") == address == "10.71.0.3/24"
    assert ask(connect(segment.target.netns, address.partition("/")[0]))[0] in range(pid - 1, pid + 2)


def test_ipv6_connections_move_along(segment, run, connect):
    run("six", AT_ALL, "cni:dual")
    addresses = segment.addresses(segment.source, "six")
    address = next(text for text in addresses if ":" in text).partition("/")[0]
    client = connect(segment.neighbour, address)
    pid, told = ask(client)
    report = segment.migrate("six", tcp_established=True)["report"]
    assert report["address_kept"]
    assert segment.addresses(segment.target, "six") == addresses
    assert ask(client) == (pid, told + 10)
    assert ask(connect(segment.neighbour, address))[1] == 10


def test_both_addresses_move_along_or_the_container_stays(segment, run, connect):
    for node in segment.both:
        node.put("/v1/networks/both", {"subnet": "10.73.0.0/24", "subnet6": "fd73::/64"})
    run("first", SERVER, "both")
    run("both", SERVER, "both")
    addresses = segment.addresses(segment.source, "both")
    assert addresses == ["10.73.0.3/24", "fd73::3/64"]
    segment.migrate("both", keep_address=True)
    assert segment.addresses(segment.target, "both") == addresses
    assert "fd73::3/64" in segment.target.words_of("both", "ip addr show eth0")
    assert ask(connect(segment.target.netns, "10.73.0.3"))[1] == 10
    segment.target.delete(f"/v1/{NS}/containers/both", force=True)
    segment.target.put("/v1/networks/both", {"subnet6": "fd74::/64"})
    with pytest.raises(ApiError, match=r"address fd73::2 can't move along"):
        segment.migrate("first", keep_address=True)
    segment.migrate("first")
    assert segment.addresses(segment.target, "first") == ["10.73.0.2/24", "fd74::2/64"]


def test_a_new_container_tells_its_neighbours_where_its_address_is(segment, run):
    """They may remember another node for it, where the last container went that had it."""
    heard = inside(segment.neighbour, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ARP))
    with heard:
        heard.settimeout(60)
        run("new", "import time; time.sleep(100)")
        address = segment.address(segment.source, "new").partition("/")[0]
        while heard.recv(2048)[28:32] != socket.inet_aton(address):
            pass


def test_whoever_dies_connections_go_on_where_the_container_does(segment, run, connect):
    run("server", SERVER)
    address = segment.address(segment.source, "server").partition("/")[0]
    client = connect(segment.neighbour, address)
    pid, told = ask(client)
    segment.source.terminate()
    segment.source.start(TRICORN_FAILPOINTS="departure.dumped=kill")
    segment.target.terminate()
    segment.target.start(TRICORN_FAILPOINTS="arrival.running=kill")
    with contextlib.suppress(OSError, http.client.HTTPException):
        segment.migrate("server", tcp_established=True)
    assert segment.source.wait_exit() == -9
    segment.source.start()
    assert ask(client) == (pid, told + 10)
    with pytest.raises(ApiError, match="nobody can tell"):
        segment.migrate("server", tcp_established=True)
    assert segment.target.wait_exit() == -9
    segment.cut()
    segment.target.start()
    assert ask(client) == (pid, told + 20)  # it runs there, whatever the source knows
    segment.mend()
    eventually(lambda: not segment.source.get(f"/v1/{NS}/containers")["items"])
    assert ask(client) == (pid, told + 30)
