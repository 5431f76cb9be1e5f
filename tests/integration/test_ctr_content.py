"""containerd's own client on the content store: `ctr content`, command by command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import IO

import pytest
import trio

from tricorn_testing.agentclient import AgentClient
from tricorn_testing.content_client import content_client, images
from tricorn_testing.ctr import TIMEOUT, Ctr
from tricorn_testing.images import ImageLayout, LayerBuilder, sha256
from tricorn_testing.registry import Registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]

SOURCE = "containerd.io/distribution.source."


@pytest.fixture
def data() -> bytes:
    """Bytes that nobody had before."""
    return os.urandom(500_000)


def keep(ctr: Ctr, data: bytes) -> str:
    """Have the store keep a blob that is yet to come: `content ingest` takes no lease, and a collection may
    come at any time.
    """

    async def name() -> None:
        async with content_client(AgentClient(ctr.address), ctr.namespace, lease="") as client:
            image = {"name": f"kept {sha256(data)}", "target": {"media_type": "x/y", "size": len(data)}}
            request = images.CreateImageRequest(image=image)
            request.image.target.digest = sha256(data)
            await client.call("Create", request)

    trio.run(name)
    return sha256(data)


def ingest(ctr: Ctr, data: bytes) -> str:
    """Put a blob into the store for good."""
    digest = keep(ctr, data)
    ctr.run("content", "ingest", f"of {digest}", input=data)
    return digest


def get(ctr: Ctr, digest: str) -> bytes:
    done = subprocess.run(
        ctr.command("content", "get", digest), capture_output=True, check=True, timeout=TIMEOUT
    )
    return done.stdout


def blobs(ctr: Ctr, *filters: str) -> dict[str, dict[str, str]]:
    """Return what `content ls` shows, by digest."""
    return {row["DIGEST"]: row for row in ctr.rows("content", "ls", *filters)}


def transfers(ctr: Ctr) -> dict[str, str]:
    """Return the sizes that `content active` shows, by ref."""
    return {row["REF"]: row["SIZE"] for row in ctr.rows("content", "active")}


def stdin_of(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


class TestBlobs:
    def test_ingest_get_ls_rm(self, ctr: Ctr, data: bytes) -> None:
        digest = ingest(ctr, data)
        assert get(ctr, digest) == data
        row = blobs(ctr)[digest]
        assert (row["SIZE"], row["LABELS"]) == ("500kB", "-")
        assert row["AGE"].endswith(("second", "seconds"))
        assert digest in ctr.run("content", "ls", "-q").stdout.split()
        assert ctr.run("content", "rm", digest).stdout.strip() in {digest, ""}
        assert digest not in blobs(ctr)
        done = ctr.run("content", "get", digest, check=False)
        assert done.returncode
        assert digest in done.stderr

    def test_labels_and_filters(self, ctr: Ctr, data: bytes) -> None:
        digest = ingest(ctr, data)
        assert "kind=layer" in ctr.run("content", "label", digest, "kind=layer").stdout
        assert list(blobs(ctr, "labels.kind==layer")) == [digest]
        assert blobs(ctr, "labels.kind==config") == {}
        assert list(blobs(ctr, "labels.kind!=layer", f"digest=={digest}")) == sorted(blobs(ctr))
        ctr.run("content", "label", digest, "kind=")
        assert blobs(ctr)[digest]["LABELS"] == "-"

    def test_what_is_known_is_not_stored_again(self, ctr: Ctr, data: bytes) -> None:
        digest = ingest(ctr, data)
        words = ("content", "ingest", "--expected-digest", digest, "--expected-size", str(len(data)), "again")
        ctr.run(*words, input=data)
        ctr.run("content", "ingest", "again", input=data)
        assert transfers(ctr) == {}
        assert get(ctr, digest) == data

    def test_a_wrong_digest_leaves_the_ingest(self, ctr: Ctr, data: bytes) -> None:
        ref, other = f"wrong-{os.urandom(4).hex()}", sha256(data + b"!")
        words = ["--expected-digest", other, "--expected-size", str(len(data)), ref]
        done = ctr.run("content", "ingest", *words, input=data, check=False)
        assert done.returncode
        assert "failed precondition" in done.stderr or "isn't" in done.stderr
        assert transfers(ctr)[ref] == "500kB"
        assert other not in blobs(ctr)
        assert sha256(data) not in blobs(ctr)

    @pytest.mark.parametrize("digest", ["sha256:../../../../etc/shadow", "../../etc/shadow", "sha256:abc"])
    def test_path_like_digests_are_refused(self, ctr: Ctr, digest: str) -> None:
        for command in (["get"], ["label"], ["rm"]):
            done = ctr.run(
                "content", *command, digest, *(["a=b"] if command == ["label"] else []), check=False
            )
            assert done.returncode
            assert "root:" not in done.stdout
        words = ("content", "ingest", "--expected-digest", digest, f"hostile-{digest}")
        assert ctr.run(*words, input=b"data", check=False).returncode

    def test_edit(self, ctr: Ctr, data: bytes, tmp_path: Path) -> None:
        old = b'{"old": 1} ' + data.hex().encode()[:100]
        digest = ingest(ctr, old)
        keep(ctr, old.replace(b"old", b"new"))
        editor = tmp_path / "editor"
        editor.write_text('#!/bin/sh\ntext=$(sed s/old/new/ "$1") && printf %s "$text" >"$1"\n')
        editor.chmod(0o755)
        edited = ctr.run("content", "edit", "--editor", str(editor), digest).stdout.split()[-1]
        assert get(ctr, edited).startswith(b'{"new": 1}')
        assert get(ctr, digest).startswith(b'{"old": 1}')


class TestTransfers:
    def test_active_shows_what_is_under_way(self, ctr: Ctr, data: bytes) -> None:
        ref = f"slow-{os.urandom(4).hex()}"
        assert ref not in transfers(ctr)
        with ctr.running("content", "ingest", ref) as process:
            stdin_of(process).write(data * 8)  # clients send a MiB at a time
            stdin_of(process).flush()
            eventually(lambda: transfers(ctr).get(ref) not in {None, "0B"}, "transfer with bytes")
            stdin_of(process).close()
            assert process.wait(TIMEOUT) == 0
        assert ref not in transfers(ctr)

    def test_a_killed_client_resumes(self, ctr: Ctr, data: bytes, tmp_path: Path) -> None:
        """The second client sends only what the first one hadn't."""
        ref, whole = f"killed-{os.urandom(4).hex()}", data * 8
        keep(ctr, whole)
        with ctr.running("content", "ingest", ref) as process:
            stdin_of(process).write(whole[:3_000_000])
            stdin_of(process).flush()
            eventually(lambda: transfers(ctr).get(ref) not in {None, "0B"}, "transfer with bytes")
            process.send_signal(signal.SIGKILL)
            process.wait(TIMEOUT)
        assert ref in transfers(ctr)
        source = tmp_path / "whole"
        source.write_bytes(b"?" * 1000 + whole[1000:])  # what was sent before isn't looked at again
        words = ("--expected-digest", sha256(whole), "--expected-size", str(len(whole)), ref)
        with open(source, "rb") as file:
            done = subprocess.run(
                ctr.command("content", "ingest", *words),
                stdin=file,
                capture_output=True,
                check=False,
                timeout=TIMEOUT,
            )
        assert (done.returncode, done.stderr) == (0, b"")
        assert get(ctr, sha256(whole)) == whole

    def test_a_second_writer_waits_for_the_first(self, ctr: Ctr, data: bytes) -> None:
        ref = f"both-{os.urandom(4).hex()}"
        digests = [keep(ctr, data), keep(ctr, data[::-1])]
        with ctr.running("content", "ingest", ref) as first:
            stdin_of(first).write(data)
            stdin_of(first).flush()
            eventually(lambda: ref in transfers(ctr), "first writer")
            with ctr.running("content", "ingest", ref) as second:
                stdin_of(first).close()
                assert first.wait(TIMEOUT) == 0
                stdin_of(second).write(data[::-1])
                stdin_of(second).close()
                assert second.wait(TIMEOUT) == 0
        assert [get(ctr, digest) for digest in digests] == [data, data[::-1]]

    def test_refs_may_be_anything(self, ctr: Ctr, data: bytes) -> None:
        ref = f"../../weird ref/{os.urandom(4).hex()}"
        done = ctr.run("content", "ingest", "--expected-digest", sha256(b""), ref, input=data, check=False)
        assert done.returncode
        assert transfers(ctr)[ref] == "500kB"


@pytest.fixture(scope="module")
def reference(ctr: Ctr, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    layout = ImageLayout(tmp_path_factory.mktemp("fetch") / "layout")
    layers = [LayerBuilder().file(f"f{n}", f"{ctr.version} {n}").layer() for n in range(3)]
    layout.tag("v1", layout.add_image(layers))
    return registry.push(layout, "v1", f"fetched{ctr.version}:v1")


class TestRegistry:
    def test_fetch(self, ctr: Ctr, registry: Registry, reference: str) -> None:
        output = ctr.run("content", "fetch", "--plain-http", reference).stdout
        name = reference.partition("/")[2]
        digest = registry.digest(name)
        assert f"manifest-{digest}" in output
        manifest = json.loads(get(ctr, digest))
        held = blobs(ctr)
        for part in [manifest["config"], *manifest["layers"]]:
            assert len(get(ctr, part["digest"])) == part["size"]
            assert f"{SOURCE}{registry.address.partition(':')[0]}" in held[part["digest"]]["LABELS"]
        labels = held[digest]["LABELS"]
        assert f"containerd.io/gc.ref.content.l.2={manifest['layers'][2]['digest']}" in labels
        assert f"containerd.io/gc.ref.content.config={manifest['config']['digest']}" in labels
        assert reference in ctr.run("images", "ls", "-q").stdout.split()
        again = ctr.run("content", "fetch", "--plain-http", reference).stdout
        assert "exists" in again or "done" in again

    def test_push_object(self, ctr: Ctr, registry: Registry, data: bytes) -> None:
        digest = ingest(ctr, data)
        remote = f"{registry.address}/objects{ctr.version}:v1"
        ctr.run("content", "push-object", "--plain-http", remote, digest, "application/octet-stream")
        _, _, body = registry.request("GET", f"/v2/objects{ctr.version}/blobs/{digest}", expect=200)
        assert body == data

    def test_prune_references(self, ctr: Ctr, registry: Registry, reference: str) -> None:
        """Layers that are unpacked needn't be kept compressed: the client cuts the references to them."""
        ctr.run("content", "fetch", "--plain-http", reference)
        digest = registry.digest(reference.partition("/")[2])
        manifest = json.loads(get(ctr, digest))
        layers = {layer["digest"] for layer in manifest["layers"]}
        assert layers <= set(blobs(ctr))
        ctr.run("content", "prune", "references")
        held = blobs(ctr)
        assert not layers & set(held)
        assert "gc.ref.content.l." not in held[digest]["LABELS"]
        assert manifest["config"]["digest"] in held
        ctr.run("images", "rm", "--sync", reference)
        assert digest not in blobs(ctr)
