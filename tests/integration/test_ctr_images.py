"""containerd's own client on images: those `ctr images` commands that work on content, images, snapshots and
layers by themselves, command by command.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.agentclient import segment
from tricorn_testing.ctr import Ctr
from tricorn_testing.daemon import Daemon
from tricorn_testing.images import DOCKER, OCI, ImageLayout, Layer, LayerBuilder
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.integration]

LAYERS = [
    LayerBuilder().directory("etc").file("etc/motd", "hello").file("etc/gone", "x").layer(),
    LayerBuilder()
    .file("etc/motd", "hello again")
    .whiteout("etc/gone")
    .file("run.sh", "#!", mode=0o755)
    .layer(),
]
CHAIN = [
    LAYERS[0].diff_id,
    "sha256:" + hashlib.sha256(f"{LAYERS[0].diff_id} {LAYERS[1].diff_id}".encode()).hexdigest(),
]


def layered(layout: ImageLayout, layers: list[Layer], *, docker: bool = False) -> dict[str, Any]:
    """Write an image for two platforms; only the first one's is of these layers."""
    other = LayerBuilder().file("other", "for another machine").layer()
    manifests = [
        layout.add_image(layers, {"Cmd": ["/run.sh"]}, platform="linux/amd64", docker=docker),
        layout.add_image([other], platform="linux/s390x", docker=docker),
    ]
    return layout.add_index(manifests, docker=docker)


@pytest.fixture(scope="module")
def references(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The image in both dialects, in the registry."""
    layout = ImageLayout(tmp_path_factory.mktemp("images") / "layout")
    layout.tag("oci", layered(layout, LAYERS))
    layout.tag("docker", layered(layout, LAYERS, docker=True))
    return {tag: registry.push(layout, tag, f"ctrimages/{tag}:v1") for tag in ("oci", "docker")}


@pytest.fixture(scope="module")
def local(ctr: Ctr) -> list[str]:
    """The words that keep ctr from leaving the work to the transfer service."""
    return ["--local"] if ctr.version != "1.6" else []


@pytest.fixture(scope="module")
def pulled(ctr: Ctr, references: dict[str, str], local: list[str]) -> str:
    """The image, pulled by ctr itself. Tests that remove it use another name."""
    return pull(ctr, local, references["oci"])


def pull(ctr: Ctr, local: list[str], reference: str, *words: str) -> str:
    output = ctr.run("images", "pull", *local, "--plain-http", "--platform", "linux/amd64", *words, reference)
    assert "unpacking" in output.stdout
    assert "done" in output.stdout
    return reference


def digest_of(registry: Registry, reference: str) -> str:
    return registry.digest(reference.partition("/")[2])


def document(ctr: Ctr, digest: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(ctr.run("content", "get", digest).stdout)
    return loaded


def manifest_of(ctr: Ctr, digest: str, architecture: str = "amd64") -> dict[str, Any]:
    index = document(ctr, digest)
    found = next(m for m in index["manifests"] if m["platform"]["architecture"] == architecture)
    return document(ctr, found["digest"])


def images(ctr: Ctr, *filters: str) -> dict[str, dict[str, str]]:
    """Return what `images ls` shows, by name."""
    return {row["REF"]: row for row in ctr.rows("images", "ls", *filters)}


def checked(ctr: Ctr, name: str) -> dict[str, str]:
    """Return what `images check` shows of one image."""
    (row,) = ctr.rows("images", "check", f"name=={name}")
    return row


def blobs(ctr: Ctr, namespace: str = "") -> set[str]:
    return set(ctr.run("content", "ls", "-q", namespace=namespace).stdout.split())


def snapshots(ctr: Ctr, agent: Daemon, namespace: str = "") -> set[str]:
    listed = agent.get(f"/v1/{namespace or ctr.namespace}/snapshots")
    return {item["key"] for item in listed["items"]}


class TestPull:
    def test_content_and_labels(self, ctr: Ctr, registry: Registry, pulled: str) -> None:
        row = images(ctr)[pulled]
        digest = digest_of(registry, pulled)
        assert (row["TYPE"], row["DIGEST"]) == (OCI["index"], digest)
        assert "linux/amd64" in row["PLATFORMS"]
        manifest = manifest_of(ctr, digest)
        assert [layer["digest"] for layer in manifest["layers"]] == [layer.digest for layer in LAYERS]
        held = {row["DIGEST"]: row["LABELS"] for row in ctr.rows("content", "ls")}
        assert f"containerd.io/uncompressed={LAYERS[0].diff_id}" in held[LAYERS[0].digest]
        assert f"containerd.io/gc.ref.snapshot.overlayfs={CHAIN[1]}" in held[manifest["config"]["digest"]]

    def test_layers_are_unpacked(self, ctr: Ctr, ctr_agent: Daemon, pulled: str) -> None:
        assert set(CHAIN) <= snapshots(ctr, ctr_agent)
        row = checked(ctr, pulled)
        assert row["STATUS"].startswith("complete (")
        assert row["UNPACKED"] == "true"

    def test_again_changes_nothing(self, ctr: Ctr, local: list[str], pulled: str) -> None:
        before = images(ctr)[pulled]
        pull(ctr, local, pulled)
        assert images(ctr)[pulled] == before

    def test_labels_and_all_platforms(self, ctr: Ctr, local: list[str], references: dict[str, str]) -> None:
        """A second pull brings what the first had no use for, and a label."""
        name = references["docker"]
        words = ("--plain-http", "--all-platforms", "--label", "team=web")
        ctr.run("images", "pull", *local, *words, name)
        row = images(ctr)[name]
        assert (row["TYPE"], row["LABELS"]) == (DOCKER["index"], "team=web")
        assert set(row["PLATFORMS"].split(",")) == {"linux/amd64", "linux/s390x"}

    def test_collections_meanwhile_take_nothing(
        self, ctr: Ctr, ctr_agent: Daemon, local: list[str], registry: Registry, layout: ImageLayout
    ) -> None:
        """What a client's lease holds stays, however often the agent collects."""
        layers = [LayerBuilder().file(f"f{n}", os.urandom(50_000)).layer() for n in range(12)]
        layout.tag("v1", layout.add_image(layers))
        name = registry.push(layout, "v1", f"ctrimages/many{ctr.version}:v1")
        with ThreadPoolExecutor() as pool:
            pulling = pool.submit(ctr.run, "images", "pull", *local, "--plain-http", name)
            while not pulling.done():
                ctr_agent.post("/v1/gc")
            pulling.result()
        ctr_agent.post("/v1/gc")
        assert checked(ctr, name)["UNPACKED"] == "true"
        assert {layer.digest for layer in layers} <= blobs(ctr)

    def test_the_agent_knows_it(self, ctr: Ctr, ctr_agent: Daemon, registry: Registry, pulled: str) -> None:
        seen = ctr_agent.get(f"/v1/{ctr.namespace}/images/{segment(pulled)}")
        assert seen["digest"] == digest_of(registry, pulled)
        assert seen["unpacked"] is True
        assert [layer["digest"] for layer in seen["layers"]] == [layer.digest for layer in LAYERS]

    def test_what_the_agent_pulled(self, ctr: Ctr, ctr_agent: Daemon, references: dict[str, str]) -> None:
        namespace = f"{ctr.namespace}-http"
        name = references["oci"]
        ctr_agent.put(f"/v1/{namespace}/images", {"reference": name, "plain_http": True})
        (row,) = ctr.rows("images", "check", namespace=namespace)
        assert (row["REF"], row["UNPACKED"]) == (name, "true")
        assert row["STATUS"].startswith("complete (")


class TestNames:
    def test_ls(self, ctr: Ctr, pulled: str) -> None:
        assert pulled in ctr.run("images", "ls", "-q").stdout.split()
        assert list(images(ctr, f"name=={pulled}")) == [pulled]
        assert images(ctr, "name==none") == {}

    def test_label(self, ctr: Ctr, pulled: str) -> None:
        assert "color=red" in ctr.run("images", "label", pulled, "color=red").stdout
        assert images(ctr)[pulled]["LABELS"] == "color=red"
        assert list(images(ctr, "labels.color==red")) == [pulled]
        ctr.run("images", "label", "--replace-all", pulled, "size=big")
        assert images(ctr)[pulled]["LABELS"] == "size=big"
        ctr.run("images", "label", pulled, "size=")
        assert images(ctr)[pulled]["LABELS"] == "-"

    def test_tag(self, ctr: Ctr, local: list[str], pulled: str, references: dict[str, str]) -> None:
        name = "docker.io/tests/tagged:1"
        assert name in ctr.run("images", "tag", *local, pulled, name).stdout
        assert images(ctr)[name]["DIGEST"] == images(ctr)[pulled]["DIGEST"]
        done = ctr.run("images", "tag", *local, pulled, name, check=False)
        assert done.returncode
        assert "exists" in done.stderr
        ctr.run("images", "tag", *local, "--force", pulled, name)
        ctr.run("images", "rm", name)
        assert name not in images(ctr)

    def test_rm_keeps_what_others_need(
        self, ctr: Ctr, ctr_agent: Daemon, local: list[str], pulled: str
    ) -> None:
        ctr.run("images", "tag", *local, pulled, "docker.io/tests/second:1")
        assert "second" in ctr.run("images", "rm", "--sync", "docker.io/tests/second:1").stdout
        assert checked(ctr, pulled)["UNPACKED"] == "true"
        done = ctr.run("images", "rm", "docker.io/tests/second:1", check=False)
        assert "docker.io/tests/second:1" not in images(ctr), done.stderr

    def test_rm_sync_frees_at_once(
        self, ctr: Ctr, ctr_agent: Daemon, local: list[str], registry: Registry, tmp_path: Path
    ) -> None:
        layout = ImageLayout(tmp_path / "layout")
        layer = LayerBuilder().file("only", f"here, for {ctr.version}").layer()
        layout.tag("v1", layout.add_image([layer]))
        name = pull(ctr, local, registry.push(layout, "v1", f"ctrimages/alone{ctr.version}:v1"))
        digest = digest_of(registry, name)
        assert {digest, layer.digest} <= blobs(ctr)
        ctr.run("images", "rm", "--sync", name)
        assert not {digest, layer.digest} & blobs(ctr)
        assert layer.diff_id not in snapshots(ctr, ctr_agent)
        assert not (ctr_agent.root / "content/blobs/sha256" / layer.digest.partition(":")[2]).exists()

    def test_inspect(self, ctr: Ctr, pulled: str) -> None:
        if ctr.version == "1.6":
            pytest.skip("this ctr has no such command")
        tree = ctr.run("images", "inspect", "--content", pulled).stdout
        for layer in LAYERS:
            assert layer.digest in tree
        assert '"Cmd"' in tree


class TestFiles:
    def test_mount_and_unmount(self, ctr: Ctr, ctr_agent: Daemon, pulled: str, short_path: Path) -> None:
        target = short_path / "m"
        target.mkdir()
        ctr.run("images", "mount", pulled, str(target))
        try:
            assert (target / "etc/motd").read_text() == "hello again"
            assert sorted(os.listdir(target)) == ["etc", "run.sh"]
            assert not (target / "etc/gone").exists()
            with pytest.raises(OSError, match="Read-only"):
                (target / "new").write_text("x")
            assert str(target) in snapshots(ctr, ctr_agent)
        finally:
            ctr.run("images", "unmount", "--rm", str(target))
        assert os.listdir(target) == []
        assert str(target) not in snapshots(ctr, ctr_agent)

    def test_a_mount_to_write_to(self, ctr: Ctr, pulled: str, short_path: Path) -> None:
        target = short_path / "m"
        target.mkdir()
        ctr.run("images", "mount", "--rw", pulled, str(target))
        try:
            (target / "new").write_text("x")
            assert (target / "etc/motd").read_text() == "hello again"
        finally:
            ctr.run("images", "unmount", "--rm", str(target))

    def test_usage(self, ctr: Ctr, pulled: str) -> None:
        if ctr.version == "1.6":
            pytest.skip("this ctr has no such command")
        rows = ctr.rows("images", "usage", pulled)
        assert {row["KEY"] for row in rows} == set(CHAIN)
        assert all(int(row["INODES"]) > 0 for row in rows)


class TestArchives:
    @pytest.fixture
    def archive(self, ctr: Ctr, local: list[str], pulled: str, tmp_path: Path) -> Path:
        path = tmp_path / "image.tar"
        ctr.run("images", "export", *local, "--platform", "linux/amd64", str(path), pulled)
        return path

    def test_export(self, archive: Path, registry: Registry, pulled: str) -> None:
        with tarfile.open(archive) as tar:
            members = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
        (entry,) = json.loads(members["index.json"])["manifests"]
        assert entry["annotations"]["io.containerd.image.name"] == pulled
        kept = {name.rpartition("/")[2]: data for name, data in members.items() if name.startswith("blobs/")}
        assert all(hashlib.sha256(data).hexdigest() == name for name, data in kept.items())
        assert {layer.digest.partition(":")[2] for layer in LAYERS} <= set(kept)
        assert entry["digest"].partition(":")[2] in kept

    def test_import_into_another_namespace(
        self, ctr: Ctr, ctr_agent: Daemon, local: list[str], archive: Path, pulled: str
    ) -> None:
        namespace = f"{ctr.namespace}-import"
        words = ("images", "import", *local, "--platform", "linux/amd64", str(archive))
        assert pulled in ctr.run(*words, namespace=namespace).stdout
        (row,) = ctr.rows("images", "check", namespace=namespace)
        assert (row["REF"], row["UNPACKED"]) == (pulled, "true")
        assert row["STATUS"].startswith("complete (")
        assert {layer.digest for layer in LAYERS} <= blobs(ctr, namespace)
        assert set(CHAIN) <= snapshots(ctr, ctr_agent, namespace)
        assert pulled in ctr.run(*words, namespace=namespace).stdout  # nothing is in the way of a second time
        ctr.run("images", "rm", "--sync", pulled, namespace=namespace)
        assert blobs(ctr, namespace) == set()
        assert snapshots(ctr, ctr_agent, namespace) == set()

    def test_import_a_layout_without_unpacking(
        self, ctr: Ctr, ctr_agent: Daemon, local: list[str], layout: ImageLayout, tmp_path: Path
    ) -> None:
        layer = LayerBuilder().file("imported", ctr.version).layer("zstd")
        digest = layout.tag("v7", layout.add_image([layer]))
        archive = layout.archive(tmp_path / "layout.tar")
        words = ("--base-name", "docker.io/tests/imported", "--digests", "--no-unpack")
        ctr.run("images", "import", *local, *words, str(archive))
        names = {"docker.io/tests/imported:v7", f"docker.io/tests/imported@{digest}"}
        assert names <= set(images(ctr))
        assert {digest, layer.digest} <= blobs(ctr)
        assert layer.diff_id not in snapshots(ctr, ctr_agent)
        ctr.run("images", "rm", "--sync", *sorted(names))
        assert not {digest, layer.digest} & blobs(ctr)

    def test_hostile_archives_are_refused(self, ctr: Ctr, local: list[str], tmp_path: Path) -> None:
        path = tmp_path / "bad.tar"
        path.write_bytes(os.urandom(10_240))
        done = ctr.run("images", "import", *local, str(path), check=False)
        assert done.returncode


class TestConvert:
    def test_uncompress(self, ctr: Ctr, ctr_agent: Daemon, pulled: str) -> None:
        name = "docker.io/tests/plain:1"
        ctr.run("images", "convert", "--uncompress", "--platform", "linux/amd64", pulled, name)
        digest = images(ctr)[name]["DIGEST"]
        made = document(ctr, digest)
        manifest = made if "layers" in made else document(ctr, made["manifests"][0]["digest"])
        assert [layer["digest"] for layer in manifest["layers"]] == [layer.diff_id for layer in LAYERS]
        assert {layer["mediaType"] for layer in manifest["layers"]} == {OCI[""]}
        stored = ctr_agent.root / "content/blobs/sha256" / LAYERS[1].diff_id.partition(":")[2]
        assert stored.read_bytes() == LAYERS[1].tar
        assert images(ctr)[pulled]["DIGEST"] != digest
        ctr.run("images", "rm", "--sync", name)
        assert LAYERS[1].diff_id not in blobs(ctr)

    def test_to_oci(self, ctr: Ctr, local: list[str], references: dict[str, str]) -> None:
        source = pull(ctr, local, references["docker"])
        name = "docker.io/tests/oci:1"
        ctr.run("images", "convert", "--oci", "--platform", "linux/amd64", source, name)
        row = images(ctr)[name]
        assert "vnd.oci.image" in row["TYPE"]
        made = document(ctr, row["DIGEST"])
        manifest = made if "layers" in made else document(ctr, made["manifests"][0]["digest"])
        assert {layer["mediaType"] for layer in manifest["layers"]} == {OCI["gzip"]}
        assert manifest["config"]["mediaType"] == OCI["config"]


class TestPush:
    def test_one_platform(self, ctr: Ctr, local: list[str], registry: Registry, pulled: str) -> None:
        """Only that one's layers are here."""
        repository = f"ctrimages/pushed{ctr.version}"
        words = ("--plain-http", "--platform", "linux/amd64", f"{registry.address}/{repository}:v2", pulled)
        assert "done" in ctr.run("images", "push", *local, *words).stdout
        index = document(ctr, digest_of(registry, pulled))
        (wanted,) = [m["digest"] for m in index["manifests"] if m["platform"]["architecture"] == "amd64"]
        assert registry.digest(f"{repository}:v2") == wanted
        for layer in LAYERS:
            _, _, body = registry.request("GET", f"/v2/{repository}/blobs/{layer.digest}", expect=200)
            assert body == layer.blob

    def test_a_whole_index(
        self, ctr: Ctr, local: list[str], registry: Registry, references: dict[str, str]
    ) -> None:
        source, name = references["docker"], f"ctrimages/whole{ctr.version}:v1"
        ctr.run("images", "pull", *local, "--plain-http", "--all-platforms", source)
        ctr.run("images", "push", *local, "--plain-http", f"{registry.address}/{name}", source)
        assert registry.digest(name) == digest_of(registry, source)
