"""Nodes that serve each other: several agents pull one image, and the registry gives each blob about once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tricorn_testing.certificates import Certificates, issue, make_certificates
from tricorn_testing.counting_registry import CountingRegistry, counting_registry
from tricorn_testing.daemon import ApiError, Daemon, running_daemon
from tricorn_testing.images import ImageLayout, LayerBuilder
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import free_port

pytestmark = [pytest.mark.integration, pytest.mark.root]
NODES = 3
BLOBS = 4  # manifest, config, two layers


@frozen
class Fleet:
    """Agents that know each other as mirrors of one registry."""

    agents: list[Daemon]
    ports: list[int]
    registry: CountingRegistry
    certificates: Certificates

    def pull(self, agent: Daemon, reference: str) -> Any:
        body = {"reference": reference, "plain_http": True, "unpack": False}
        return agent.put("/v1/default/images", body)

    def ask(
        self, path: str, *, node: int = 0, method: str = "GET", client: str = "node0", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask a node's door as a peer with the certificate of `client` ("" for none)."""
        context = ssl.create_default_context(cafile=self.certificates.ca)
        if client:
            context.load_cert_chain(
                self.certificates.file(f"{client}.crt"), self.certificates.file(f"{client}.key")
            )
        connection = http.client.HTTPSConnection("127.0.0.1", self.ports[node], timeout=30, context=context)
        try:
            connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()


def _layout(directory: Path, name: str) -> ImageLayout:
    layout = ImageLayout(directory)
    layers = [LayerBuilder().file(f"{name}{n}", os.urandom(3_000_000)).layer("") for n in range(2)]
    layout.tag("app", layout.add_image(layers, {"Cmd": ["/f"]}))
    return layout


def _hosts(directory: Path, registry: str, others: list[int], certificates: Certificates, name: str) -> None:
    place = directory / "etc/hosts.d" / registry
    place.mkdir(parents=True)
    text = f'server = "http://{registry}"\n'
    for port in others:
        text += (
            f'[host."https://127.0.0.1:{port}"]\ncapabilities = ["pull"]\nca = "{certificates.ca}"\n'
            f'client = [["{certificates.file(f"{name}.crt")}", "{certificates.file(f"{name}.key")}"]]\n'
        )
    (place / "hosts.toml").write_text(text)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    base = tmp_path_factory.mktemp("peers")
    certificates = make_certificates(base / "pki")
    ports = [free_port() for _ in range(NODES)]
    for number in range(NODES):
        issue(certificates, f"node{number}", f"DNS:node{number}.example,IP:127.0.0.1")
    issue(certificates, "stranger", "DNS:stranger.example")
    with ExitStack() as stack:
        registry = stack.enter_context(counting_registry(_layout(base / "layout", "f"), seconds=0.5))
        configs = []
        for number in range(NODES):
            hosts = stack.enter_context(short_directory())
            _hosts(
                hosts,
                registry.address,
                [p for p in ports if p != ports[number]],
                certificates,
                f"node{number}",
            )
            config = f"""
[registry]
hosts_dir = "{hosts}/etc/hosts.d"
[peers]
listen = "127.0.0.1:{ports[number]}"
certificate = "{certificates.file(f"node{number}.crt")}"
key = "{certificates.file(f"node{number}.key")}"
client_ca = "{certificates.ca}"
repositories = ["127.0.0.1:*/fleet/**", "docker.io/library/*"]
[[peers.allow]]
names = ["node*.example"]
"""
            configs.append(config)
        agents = [stack.enter_context(running_daemon(config)) for config in configs]
        yield Fleet(agents, ports, registry, certificates)


def test_nodes_that_start_together_take_each_blob_from_the_registry_about_once(fleet: Fleet) -> None:
    reference = fleet.registry.reference("fleet/together:app")
    with ThreadPoolExecutor(NODES) as pool:
        list(pool.map(lambda agent: fleet.pull(agent, reference), fleet.agents))
    counts = fleet.registry.blobs
    print("taken from the registry:", dict(counts))
    assert len(counts) == BLOBS
    assert sum(counts.values()) <= NODES * BLOBS * 2 / 3
    served = [agent.get("/v1/info")["peers"]["bytes_served"] for agent in fleet.agents]
    assert sum(served) >= 6_000_000


def test_what_one_node_has_the_others_take_from_it_alone(fleet: Fleet, tmp_path: Path) -> None:
    fleet.registry.layout = _layout(tmp_path / "layout", "g")
    fleet.registry.blobs.clear()
    reference = fleet.registry.reference("fleet/after:app")
    fleet.pull(fleet.agents[0], reference)
    with ThreadPoolExecutor(NODES) as pool:
        list(pool.map(lambda agent: fleet.pull(agent, reference), fleet.agents[1:]))
    assert len(fleet.registry.blobs) == BLOBS
    assert set(fleet.registry.blobs.values()) == {1}


def test_a_peer_sees_a_registry(fleet: Fleet) -> None:
    reference = fleet.registry.reference("fleet/seen:app")
    fleet.pull(fleet.agents[0], reference)
    base = f"/v2/{fleet.registry.address}/fleet/seen"
    assert fleet.ask("/v2/")[0] == 200
    status, headers, data = fleet.ask(f"{base}/manifests/app")
    manifest = json.loads(data)
    assert (status, headers["content-type"]) == (200, manifest["mediaType"])
    digest = headers["docker-content-digest"]
    assert fleet.ask(f"{base}/manifests/{digest}")[2] == data
    mirrored = f"/v2/fleet/seen/manifests/{digest}?ns={fleet.registry.address}"
    assert fleet.ask(mirrored)[2] == data
    status, headers, body = fleet.ask(f"{base}/manifests/app", method="HEAD")
    assert (status, headers["docker-content-digest"], body) == (200, digest, b"")
    assert headers["content-length"] == str(len(data))
    assert json.loads(fleet.ask(f"{base}/tags/list")[2])["tags"] == ["app"]
    layer = manifest["layers"][0]
    whole = fleet.registry.layout.blob(layer["digest"]).read_bytes()
    blob = f"{base}/blobs/{layer['digest']}"
    status, headers, body = fleet.ask(blob)
    assert (status, body == whole, headers["accept-ranges"]) == (200, True, "bytes")
    status, headers, body = fleet.ask(blob, Range="bytes=1000-")
    assert (status, body == whole[1000:]) == (206, True)
    assert headers["content-range"] == f"bytes 1000-{len(whole) - 1}/{len(whole)}"
    assert fleet.ask(blob, Range="bytes=5-9")[2] == whole[5:10]
    assert fleet.ask(blob, Range=f"bytes={len(whole)}-")[0] == 416
    assert fleet.ask(f"{base}/manifests/other")[0] == 404
    assert fleet.ask(f"{base}/blobs/uploads/", method="POST")[0] == 405
    assert fleet.ask(f"{base}/blobs/nonsense")[0] == 400
    text = fleet.agents[0].exchange("GET", "/metrics")[2].decode()
    assert 'name="peers.bytes_served"' in text


def test_a_digest_alone_gives_nothing_away(fleet: Fleet, tmp_path: Path) -> None:
    agent = fleet.agents[0]
    fleet.pull(agent, fleet.registry.reference("fleet/seen:app"))
    fleet.registry.layout = layout = _layout(tmp_path / "layout", "secret")
    hidden = fleet.registry.reference("hidden/app:app")  # a repository that isn't served
    elsewhere = fleet.registry.reference("fleet/elsewhere:app")  # in a namespace that isn't served
    body = {"plain_http": True, "unpack": False}
    agent.put("/v1/default/images", {"reference": hidden, **body})
    agent.put("/v1/private/images", {"reference": elsewhere, **body})
    fleet.pull(agent, hidden)
    manifest = json.loads((layout.path / "index.json").read_text())["manifests"][0]
    layer = layout.document(manifest["digest"])["layers"][0]["digest"]
    for name in ("hidden/app", "fleet/elsewhere", "fleet/seen", "fleet/never"):
        for what in (f"manifests/{manifest['digest']}", f"blobs/{layer}", "manifests/app", "tags/list"):
            status, headers, _ = fleet.ask(f"/v2/{name}/{what}?ns={fleet.registry.address}")
            served_anyhow = name == "fleet/seen" and what in {"manifests/app", "tags/list"}
            assert (status == 404) is not served_anyhow, (name, what)
            assert served_anyhow or headers["tricorn-peer"] == "none"


def test_only_peers_with_a_certificate_that_a_rule_names_are_heard(fleet: Fleet) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        fleet.ask("/v2/", client="")
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        fleet.ask("/v2/", client="stranger")
    assert fleet.ask("/v2/", client="node1")[0] == 200


def test_renewed_certificates_are_taken(fleet: Fleet) -> None:
    agent = fleet.agents[2]
    issue(fleet.certificates, "node2", "DNS:node2.example,DNS:renewed.example,IP:127.0.0.1")
    os.kill(agent.pid, signal.SIGHUP)
    deadline = time.monotonic() + 30
    while "dns:renewed.example" not in agent.get("/v1/info")["peers"]["names"]:
        assert time.monotonic() < deadline, agent.log[-2000:]
        time.sleep(0.02)
    assert fleet.ask("/v2/", node=2)[0] == 200
    Path(fleet.certificates.file("node2.key")).write_text("no key")
    before = agent.log.count("the old ones stay")
    os.kill(agent.pid, signal.SIGHUP)
    while agent.log.count("the old ones stay") == before:
        assert time.monotonic() < deadline + 30, agent.log[-2000:]
        time.sleep(0.02)
    assert fleet.ask("/v2/", node=2)[0] == 200


def test_peers_that_are_away_cost_no_pull(fleet: Fleet, tmp_path: Path) -> None:
    fleet.registry.layout = _layout(tmp_path / "layout", "away")
    for agent in fleet.agents[1:3]:
        agent.kill()
    reference = fleet.registry.reference("fleet/away:app")
    assert fleet.pull(fleet.agents[0], reference)["changed"]
    with pytest.raises(ApiError):
        fleet.pull(fleet.agents[0], fleet.registry.reference("fleet/away:missing"))


def test_an_agent_whose_certificate_cannot_be_used_runs_and_says_so(fleet: Fleet) -> None:
    agent = fleet.agents[1]
    Path(fleet.certificates.file("node1.key")).write_text("no key")
    agent.start()
    peers = agent.get("/v1/info")["peers"]
    assert "can't serve peers" in peers["error"]
    assert "error: " in agent.cli("info").stdout
