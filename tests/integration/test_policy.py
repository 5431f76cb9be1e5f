"""The image policy on a running agent: both doors, archives, containers, signatures, verifiers, reloads."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toml

from tricorn import wire
from tricorn.grpc.status import Code
from tricorn_testing.cosign import KeyPair, payload_of, push_signatures
from tricorn_testing.daemon import ApiError, Daemon, running_daemon, segment
from tricorn_testing.grpc_client import grpc_client, refused
from tricorn_testing.images import ImageLayout, LayerBuilder
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.integration, pytest.mark.root]
ALLOW_ALL: dict[str, Any] = {"name": "all", "images": ["**"]}


class Site:
    """An agent, its policy's file, and the registry with two images."""

    def __init__(self, agent: Daemon, file: Path, registry: Registry, layout: ImageLayout) -> None:
        self.agent = agent
        self.file = file
        self.registry = registry
        self.layout = layout

    def policy(self, *rules: dict[str, Any], **rest: Any) -> None:
        """Put a policy into force."""
        self.write(toml.dumps({"version": 1, "rule": list(rules), **rest}))
        assert self.agent.get("/v1/policy")["state"] == "in force"

    def write(self, text: str, mode: int = 0o644) -> None:
        """Write the policy's file, let the agent read it, and wait until it has."""
        self.file.write_text(text)
        self.file.chmod(mode)
        marker = hashlib.sha256(text.encode()).hexdigest()
        before = self.agent.log.count("configuration reloaded")
        os.kill(self.agent.pid, signal.SIGHUP)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            view = self.agent.get("/v1/policy")
            if view["fingerprint"] == marker:
                return
            if view["state"] == "broken" and self.agent.log.count("configuration reloaded") > before:
                return
            time.sleep(0.02)
        raise TimeoutError(f"the policy is not in force:\n{self.agent.log[-3000:]}")

    def push(self, repository: str) -> tuple[str, str]:
        """Push the image under a name of the test's own; return reference and digest."""
        reference = self.registry.push(self.layout, "app", f"{repository}:1")
        return reference, self.registry.digest(f"{repository}:1")

    def pull(self, namespace: str, reference: str, **more: Any) -> Any:
        body = {"reference": reference, "plain_http": True, **more}
        return self.agent.put(f"/v1/{namespace}/images", body)

    def denied(self, namespace: str, reference: str) -> dict[str, Any]:
        """Pull what must be refused by the policy; return the problem."""
        with pytest.raises(ApiError) as caught:
            self.pull(namespace, reference)
        assert (caught.value.status, caught.value.problem["code"]) == (403, "PolicyDenied")
        assert self.agent.get(f"/v1/{namespace}/images")["items"] == []
        assert self.agent.get(f"/v1/{namespace}/content")["items"] == []
        assert self.agent.get(f"/v1/{namespace}/snapshots")["items"] == []
        return dict(caught.value.problem)

    def create(self, namespace: str, reference: str) -> Any:
        """Make a container that isn't started, of an image that is here; then remove it."""
        desired = {"image": reference, "state": "present", "pull": "missing", "plain_http": True}
        made = self.agent.post(f"/v1/{namespace}/containers", {"name": "c", "desired": desired})
        self.agent.delete(f"/v1/{namespace}/containers/c", force=True)
        return made


@pytest.fixture(scope="module")
def site(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    layout = ImageLayout(tmp_path_factory.mktemp("layout"))
    layout.tag(
        "app", layout.add_image([LayerBuilder().file("f", b"x" * 1000).layer("gzip")], {"Cmd": ["/f"]})
    )
    with short_directory() as directory:
        file = directory / "policy.toml"
        file.write_text('version = 1\ndefault = "allow"\n')
        file.chmod(0o644)
        with running_daemon(f'[policy]\nfile = "{file}"\n') as agent:
            yield Site(agent, file, registry, layout)


def test_what_no_rule_allows_is_not_brought_and_the_error_tells_rule_reference_and_remedy(
    site: Site, own_namespace: str
) -> None:
    reference, digest = site.push("policy/plain")
    site.policy({"name": "other", "images": ["registry.example/**"]})
    problem = site.denied(own_namespace, reference)
    assert problem["details"] == {"rule": "", "reference": reference, "digest": digest}
    assert reference.rpartition(":")[0] in problem["hint"]
    site.policy({"name": "no apps", "images": ["**"], "action": "deny"})
    problem = site.denied(own_namespace, reference)
    assert problem["details"]["rule"] == "no apps"
    assert "no apps" in problem["why"]
    lines = [line for line in site.agent.log.splitlines() if "image policy" in line and "no apps" in line]
    assert any(own_namespace in line and digest in line and "denied" in line for line in lines)


def test_a_tag_must_resolve_to_its_pin(site: Site, own_namespace: str) -> None:
    reference, digest = site.push("policy/pinned")
    rule = {"name": "pins", "images": ["**"], "pinned": True}
    site.policy(rule)
    assert "no digest" in site.denied(own_namespace, reference)["why"]
    site.policy({**rule, "pins": {reference: "sha256:" + "0" * 64}})
    assert digest in site.denied(own_namespace, reference)["why"]
    site.policy({**rule, "pins": {reference: digest}})
    site.pull(own_namespace, reference)
    site.pull(own_namespace, f"{reference.rpartition(':')[0]}@{digest}")


def test_a_policy_that_cannot_be_used_lets_nothing_pass(site: Site, own_namespace: str) -> None:
    reference, _ = site.push("policy/broken")
    site.policy(ALLOW_ALL)
    site.pull(own_namespace, reference)
    good = site.file.read_text()
    for text, mode, word in (
        ("version = 1\nrule = nonsense", 0o644, "TOML"),
        ("version = 1\nrules = []\n", 0o644, "unknown key"),
        (good, 0o666, "others than root"),
    ):
        site.write(text, mode)
        with pytest.raises(ApiError) as caught:
            site.pull(own_namespace, reference, pull="always", snapshotter="native")
        assert (caught.value.status, caught.value.problem["code"]) == (412, "FailedPrecondition")
        assert word in caught.value.problem["why"]
        with pytest.raises(ApiError, match="no image passes"):
            site.create(own_namespace, reference)
        info = site.agent.get("/v1/info")["policy"]
        assert info["state"] == "broken"
        assert site.agent.cli("policy", "show").returncode == 8
    site.file.unlink()
    os.kill(site.agent.pid, signal.SIGHUP)
    site.agent.restart()
    with pytest.raises(ApiError, match="can't be used"):
        site.create(own_namespace, reference)
    site.write(good)
    assert site.agent.get("/v1/info")["policy"]["state"] == "in force"
    site.create(own_namespace, reference)


async def test_containerds_clients_meet_the_same_gate(site: Site, own_namespace: str) -> None:
    reference, digest = site.push("policy/grpc")
    site.policy({"name": "closed", "images": ["**"], "action": "deny"})
    types, transfer = (
        wire.package("containerd.types.transfer"),
        wire.package("containerd.services.transfer.v1"),
    )
    target = wire.message("containerd.types.Descriptor")(
        media_type="application/vnd.oci.image.manifest.v1+json", digest=digest, size=500
    )
    image = wire.message("containerd.services.images.v1.Image")(name=reference, target=target)
    async with grpc_client(site.agent, own_namespace) as client:
        request = transfer.TransferRequest(
            source=wire.any_of(types.OCIRegistry(reference=reference)),
            destination=wire.any_of(types.ImageStore(name=reference)),
        )
        with refused(Code.PERMISSION_DENIED, "closed"):
            await client.call("transfer.v1.Transfer", "Transfer", request)
        with refused(Code.PERMISSION_DENIED, "closed"):
            await client.call("images.v1.Images", "Create", image=image)
        container = wire.message("containerd.services.containers.v1.Container")(id="c", image=reference)
        container.runtime.name = "io.containerd.runc.v2"
        container.spec.type_url = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
        container.spec.value = b"{}"
        with refused(Code.PERMISSION_DENIED, "no image of this node"):
            await client.call("containers.v1.Containers", "Create", container=container)
        site.policy(ALLOW_ALL)
        await client.call("images.v1.Images", "Create", image=image)
        site.policy({"name": "closed", "images": ["**"], "action": "deny"})
        with refused(Code.PERMISSION_DENIED, "closed"):
            await client.call("images.v1.Images", "Update", image=image)
        with refused(Code.PERMISSION_DENIED, "closed"):
            await client.call("containers.v1.Containers", "Create", container=container)
        site.policy(ALLOW_ALL)
        await client.call("containers.v1.Containers", "Create", container=container)
        await client.call("containers.v1.Containers", "Delete", id="c")


def test_the_name_that_a_transfer_gives_must_be_allowed_too(site: Site, own_namespace: str) -> None:
    reference, _ = site.push("policy/renamed")
    host = reference.partition("/")[0]
    site.policy({"name": "ours", "images": [f"{host}/**"]})
    site.pull(own_namespace, reference)
    with pytest.raises(ApiError) as caught:
        site.agent.post(
            f"/v1/{own_namespace}/images/{segment(reference)}/tag", {"reference": "docker.io/library/redis:7"}
        )
    assert caught.value.problem["code"] == "PolicyDenied"
    assert caught.value.problem["details"]["reference"] == "docker.io/library/redis:7"


def test_archives_are_neither_unpacked_nor_named(site: Site, own_namespace: str, tmp_path: Path) -> None:
    archive = site.layout.archive(tmp_path / "images.tar")
    site.policy({"name": "closed", "images": ["**"], "action": "deny"})
    imported = site.agent.cli("-n", own_namespace, "image", "import", str(archive))
    assert imported.returncode == 6, imported
    assert "rule 'closed'" in imported.stderr
    assert site.agent.get(f"/v1/{own_namespace}/images")["items"] == []
    assert site.agent.get(f"/v1/{own_namespace}/snapshots")["items"] == []


def test_an_image_from_before_the_policy_makes_no_container(site: Site, own_namespace: str) -> None:
    reference, _ = site.push("policy/before")
    site.policy(default="allow")
    site.pull(own_namespace, reference)
    site.create(own_namespace, reference)
    site.policy({"name": "other", "images": ["registry.example/**"]})
    with pytest.raises(ApiError) as caught:
        site.create(own_namespace, reference)
    assert caught.value.problem["code"] == "PolicyDenied"
    assert site.agent.get(f"/v1/{own_namespace}/containers")["items"] == []


def test_signatures(site: Site, own_namespace: str, tmp_path: Path) -> None:
    reference, digest = site.push("policy/signed")
    repository = reference.rpartition(":")[0]
    ours, theirs = KeyPair(), KeyPair()
    key = ours.write(tmp_path / "ours.pub")
    site.policy(
        {"name": "signed", "images": ["**"], "signed_by": ["release"]}, signers={"release": {"keys": [key]}}
    )
    assert "no signatures" in site.denied(own_namespace, reference)["why"]
    good = payload_of(repository, digest)
    push_signatures(site.registry, "policy/signed", digest, [(good, theirs.sign(good))])
    assert "another key" in site.denied(own_namespace, reference)["why"]
    elsewhere = payload_of("registry.example/other", digest)
    push_signatures(site.registry, "policy/signed", digest, [(elsewhere, ours.sign(elsewhere))])
    assert "registry.example/other" in site.denied(own_namespace, reference)["why"]
    push_signatures(
        site.registry, "policy/signed", digest, [(good, theirs.sign(good)), (good, ours.sign(good))]
    )
    asked = site.agent.cli("policy", "check", "--plain-http", reference)
    assert (asked.returncode, "signer    release passed" in asked.stdout) == (0, True), asked
    push_signatures(site.registry, "policy/signed", digest, [(good, theirs.sign(good))])
    assert "another key" in site.denied(own_namespace, reference)["why"]
    push_signatures(site.registry, "policy/signed", digest, [(good, ours.sign(good))], referrer=True)
    site.pull(own_namespace, reference)
    push_signatures(site.registry, "policy/signed", digest, [(good, theirs.sign(good))], referrer=True)
    # What has passed is remembered for containers, and a question asks afresh.
    push_signatures(site.registry, "policy/signed", digest, [(good, theirs.sign(good))])
    site.create(own_namespace, reference)
    asked = site.agent.cli("-n", own_namespace, "--json", "policy", "check", "--plain-http", reference)
    assert asked.returncode == 6
    answer = json.loads(asked.stdout)
    assert (answer["allowed"], answer["rule"], answer["digest"]) == (False, "signed", digest)
    assert answer["findings"][0]["name"] == "release"
    # Another key is another requirement: nothing is remembered of it.
    theirs.write(tmp_path / "ours.pub")
    site.write(site.file.read_text() + "\n")
    site.create(own_namespace, reference)
    KeyPair().write(tmp_path / "ours.pub")
    site.write(site.file.read_text() + "\n")
    with pytest.raises(ApiError, match="another key"):
        site.create(own_namespace, reference)


def test_verifiers(site: Site, own_namespace: str, tmp_path: Path) -> None:
    reference, digest = site.push("policy/verified")
    directory = tmp_path / "verifiers"
    directory.mkdir(mode=0o755)
    program = directory / "scan"
    program.write_text('#!/bin/sh\necho "$2 $4"\ntest -e "${0%/*}/../clean"\n')
    program.chmod(0o755)
    site.policy(
        {"name": "scanned", "images": ["**"], "verifiers": ["scan"]},
        verifiers={"scan": {"directory": str(directory)}},
    )
    assert f"scan/scan: {reference} {digest}" in site.denied(own_namespace, reference)["why"]
    (tmp_path / "clean").touch()
    site.pull(own_namespace, reference)
    program.chmod(0o777)
    with pytest.raises(ApiError, match="can't be trusted"):
        site.pull(own_namespace, reference, pull="always", snapshotter="native")


def test_the_command_line_says_what_is_in_force(site: Site, own_namespace: str) -> None:
    reference, digest = site.push("policy/asked")
    site.policy(
        {"name": "latest", "images": ["**:latest"], "action": "deny"}, {"name": "pinned", "images": ["**"]}
    )
    shown = site.agent.cli("policy", "show").stdout
    assert "latest" in shown
    assert "everything else: deny" in shown
    asked = site.agent.cli("policy", "check", "--plain-http", reference)
    assert asked.returncode == 0
    assert f"{reference} is allowed: rule pinned" in asked.stdout
    assert digest in asked.stdout
    asked = site.agent.cli("policy", "check", "redis")  # refused without asking any registry
    assert asked.returncode == 6
    assert "docker.io/library/redis:latest is refused: rule latest" in asked.stdout
    info = site.agent.get("/v1/info")
    assert info["policy"] == {"state": "in force", "file": str(site.file), "rules": 2}
    assert info["statistics"]["policy"]["denied"] >= 1
