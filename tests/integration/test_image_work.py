"""Images converted, checked, weighed and labelled; artifacts that refer to them; skopeo and umoci beside us."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tricorn.client import Client
from tricorn.model.image_requests import ContainerCommit, ImageConversion, SnapshotDiff
from tricorn.model.requests import ContainerDesired
from tricorn_testing.daemon import ApiError, Daemon, segment
from tricorn_testing.images import DOCKER, OCI, ImageLayout, LayerBuilder, find_busybox
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.integration, pytest.mark.root]
PLATFORMS = ("linux/amd64", "linux/arm64")
SBOM = "application/spdx+json"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> ImageLayout:
    """`two`: an index of two platforms whose images share a layer, in OCI's form; `docker`: the same."""
    made = ImageLayout(tmp_path_factory.mktemp("work") / "layout")
    shared = few_files().layer("gzip")
    for tag, docker in (("two", False), ("docker", True)):
        images = [
            made.add_image(
                [shared, LayerBuilder().file("etc/name", platform).layer("gzip")],
                {"Cmd": ["cat", "/etc/name"]}, platform=platform, docker=docker,
            )
            for platform in PLATFORMS
        ]  # fmt: skip
        made.tag(tag, made.add_index(images, docker=docker))
    return made


def few_files() -> LayerBuilder:
    """A busybox with a handful of its applets: umoci takes its time over each file."""
    program = find_busybox()
    assert program, "no static busybox here: apt-get install busybox-static"
    builder = LayerBuilder().directory("bin").directory("etc").directory("proc").directory("dev")
    builder.directory("sys").file("bin/busybox", Path(program).read_bytes(), mode=0o755)
    for applet in ("cat", "ls", "sh"):
        builder.hardlink(f"bin/{applet}", "bin/busybox", mode=0o755)
    return builder.file("etc/group", "root:x:0:\n").file("etc/passwd", "root:x:0:0:root:/:/bin/sh\n")


@pytest.fixture(scope="module")
def images(agent: Daemon, layout: ImageLayout, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The names of `two` and `docker` in the agent, which has all of them; unpacked for the node."""
    archive = layout.archive(tmp_path_factory.mktemp("archive") / "layout.tar")
    run(agent, "image", "import", "--all-platforms", "--base-name", "example.com/work", str(archive))
    return {tag: f"example.com/work:{tag}" for tag in ("two", "docker")}


def run(agent: Daemon, *words: str, status: int = 0, **options: Any) -> str:
    done = agent.cli(*words, **options)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def tool(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def document(agent: Daemon, digest: str) -> dict[str, Any]:
    path = agent.root / "content/blobs" / digest.replace(":", "/")
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def target(agent: Daemon, name: str, namespace: str = "default") -> str:
    found: dict[str, str] = agent.get(f"/v1/{namespace}/images/{segment(name)}")
    return found["digest"]


def manifests(agent: Daemon, name: str, namespace: str = "default") -> list[dict[str, Any]]:
    index = document(agent, target(agent, name, namespace))
    return [document(agent, entry["digest"]) for entry in index["manifests"]]


# ---------------------------------------------------------------- convert
@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_convert_there_and_back(agent: Daemon, images: dict[str, str], compression: str) -> None:
    """Other compression, then gzip again: the same bytes inside, the same digest each time, still unpacked."""
    name = f"example.com/converted:{compression}"
    words = ("image", "convert", "--compression", compression, images["two"], name)
    assert run(agent, *words) == run(agent, *words)
    made = manifests(agent, name)
    kind = OCI[""] if compression == "none" else OCI[compression]
    assert {layer["mediaType"] for manifest in made for layer in manifest["layers"]} == {kind}
    assert [manifest["config"] for manifest in made] == [
        manifest["config"] for manifest in manifests(agent, images["two"])
    ]
    found = agent.get(f"/v1/default/images/{segment(name)}")
    assert found["unpacked"] is True
    blob = agent.get(f"/v1/default/content/{made[0]['layers'][0]['digest']}")
    plain = document(agent, made[0]["config"]["digest"])["rootfs"]["diff_ids"][0]
    if compression == "none":
        assert made[0]["layers"][0]["digest"] == plain
    else:
        assert blob["labels"]["containerd.io/uncompressed"] == plain
    assert run(agent, "run", "--rm", "--pull", "never", name) == "linux/amd64"
    run(agent, "image", "convert", "--compression", "gzip", name, f"{name}-back")
    run(agent, "image", "convert", "--compression", compression, f"{name}-back", f"{name}-again")
    assert target(agent, f"{name}-again") == target(agent, name)
    agent.post("/v1/gc", {})
    assert json.loads(run(agent, "--json", "image", "check", "--all-platforms", name))[0]["complete"]


def test_the_two_forms(agent: Daemon, images: dict[str, str]) -> None:
    run(agent, "image", "convert", "--oci", images["docker"], "example.com/form:oci")
    assert target(agent, "example.com/form:oci") != target(agent, images["two"])  # JSON in another order
    for manifest in manifests(agent, "example.com/form:oci"):
        assert manifest["mediaType"] == OCI["manifest"]
        assert manifest["config"]["mediaType"] == OCI["config"]
        assert {layer["mediaType"] for layer in manifest["layers"]} == {OCI["gzip"]}
    run(agent, "image", "convert", "--docker", "example.com/form:oci", "example.com/form:docker")
    assert {manifest["mediaType"] for manifest in manifests(agent, "example.com/form:docker")} == {
        DOCKER["manifest"]
    }
    run(agent, "image", "convert", "--oci", images["two"], "example.com/form:same")
    assert target(agent, "example.com/form:same") == target(agent, images["two"])


def test_fewer_platforms(agent: Daemon, images: dict[str, str]) -> None:
    run(agent, "image", "convert", "--platform", "linux/arm64", images["two"], "example.com/arm:1")
    (entry,) = document(agent, target(agent, "example.com/arm:1"))["manifests"]
    assert entry["platform"]["architecture"] == "arm64"
    words = ("image", "convert", "--platform", "linux/s390x", images["two"], "example.com/no:1")
    assert "nothing for platform" in run(agent, *words, status=4)


def test_what_cannot_be_converted(agent: Daemon, images: dict[str, str]) -> None:
    words = ("image", "convert", "--docker", "--compression", "zstd", images["two"], "example.com/no:1")
    assert "no zstd layers" in run(agent, *words, status=8)
    run(agent, "image", "convert", "--oci", "--docker", images["two"], "example.com/no:1", status=2)
    run(agent, "image", "convert", "--oci", "nothing:1", "example.com/no:1", status=4)
    assert "example.com/no:1" not in run(agent, "image", "ls", "-q")


def test_a_layer_that_is_another(agent: Daemon, layout: ImageLayout, tmp_path: Path) -> None:
    """An image whose config speaks of other bytes than its layer has is found out."""
    wrong = ImageLayout(tmp_path / "wrong")
    described = wrong.add_image([LayerBuilder().file("a", "a").layer("gzip")])
    manifest = wrong.document(described["digest"])
    other = LayerBuilder().file("b", "b").layer("gzip")
    manifest["layers"] = [wrong.add_blob(other.blob, OCI["gzip"])]
    wrong.tag("wrong", wrong.add_document(manifest, OCI["manifest"]))
    archive = wrong.archive(tmp_path / "wrong.tar")
    run(agent, "image", "import", "--no-unpack", "--base-name", "example.com/bad", str(archive))
    words = ("image", "convert", "--compression", "zstd", "example.com/bad:wrong", "example.com/no:1")
    assert "other bytes" in run(agent, *words, status=13)
    assert agent.get("/v1/default/leases")["items"] == []
    run(agent, "image", "rm", "example.com/bad:wrong")


# ---------------------------------------------------------------- check, usage, labels
def test_check_names_what_is_missing(agent: Daemon, layout: ImageLayout, tmp_path: Path) -> None:
    archive = layout.archive(tmp_path / "layout.tar")
    words = ("--namespace", "checked", "image")
    run(agent, *words, "import", "--all-platforms", "--base-name", "example.com/work", str(archive))
    name = "example.com/work:two"
    (found,) = agent.get("/v1/checked/image-check", name=name, all_platforms=True)["items"]
    assert (found["complete"], found["blobs"], found["unpacked"]) == (True, 8, ["overlayfs"])
    layer = manifests(agent, name, "checked")[1]["layers"][1]
    agent.delete(f"/v1/checked/content/{layer['digest']}")
    check = (*words, "check", "--platform", "linux/arm64", name)
    assert layer["digest"] in run(agent, *check, status=8)
    assert "complete" in run(agent, *words, "check", name)
    (found,) = json.loads(agent.cli("--json", *check).stdout)
    assert found["missing"] == [
        {"digest": layer["digest"], "size": layer["size"], "media_type": OCI["gzip"], "state": "missing"}
    ]
    run(agent, *words, "rm", "--sync", name, "example.com/work:docker")


def test_usage_tells_shared_from_unique(agent: Daemon, tmp_path: Path) -> None:
    made = ImageLayout(tmp_path / "usage")
    shared, own = (LayerBuilder().file(name, name * 9000).layer("") for name in ("shared", "own"))
    made.tag("one", made.add_image([shared]))
    made.tag("more", made.add_image([shared, own]))
    archive = made.archive(tmp_path / "usage.tar")
    words = ("--namespace", "weighed", "image")
    run(agent, *words, "import", "--base-name", "example.com/u", str(archive))
    result = agent.get("/v1/weighed/image-usage")
    more, one = result["images"]
    assert more["content"] == more["content_unique"] + more["content_shared"]
    assert more["content_shared"] == len(shared.blob)
    assert more["content_unique"] > len(own.blob)
    assert result["content"] == more["content"] + one["content_unique"]
    assert (one["snapshots_unique"], one["snapshots"]) == (0, more["snapshots_shared"])
    assert "together" in run(agent, *words, "usage", "example.com/u:one")
    run(agent, *words, "rm", "--sync", "example.com/u:one", "example.com/u:more")
    assert agent.get("/v1/weighed/image-usage") == {"images": [], "content": 0, "snapshots": 0}


def test_labels_and_expiry(agent: Daemon, images: dict[str, str]) -> None:
    run(agent, "image", "tag", images["docker"], "example.com/short:1")
    shown = run(agent, "image", "label", "--expire", "1h", "example.com/short:1", "a=1", "b=2")
    assert "a=1\nb=2\ncontainerd.io/gc.expire=" in shown
    assert run(agent, "image", "label", "--expire", "never", "example.com/short:1", "a=") == "b=2\n"
    with pytest.raises(ApiError, match="is no time"):
        agent.request(
            "PATCH", f"/v1/default/images/{segment('example.com/short:1')}",
            {"labels": {"containerd.io/gc.expire": "tomorrow"}},
        )  # fmt: skip
    run(agent, "image", "label", "--expire", "1s", "example.com/short:1")
    deadline = time.monotonic() + 30
    while "example.com/short:1" in run(agent, "image", "ls", "-q"):
        assert time.monotonic() < deadline, "the image never goes"
        time.sleep(0.1)


# ---------------------------------------------------------------- referrers
def artifact(layout: ImageLayout, kind: str, subject: dict[str, Any]) -> dict[str, Any]:
    empty = layout.add_blob(b"{}", "application/vnd.oci.empty.v1+json")
    bill = layout.add_blob(json.dumps({"of": subject["digest"], "kind": kind}).encode(), kind)
    manifest = {
        "schemaVersion": 2, "mediaType": OCI["manifest"], "artifactType": kind, "config": empty,
        "layers": [bill], "subject": subject, "annotations": {"made.by": "tests"},
    }  # fmt: skip
    return layout.add_document(manifest, OCI["manifest"])


def test_artifacts_follow_their_image(agent: Daemon, registry: Registry, tmp_path: Path) -> None:
    """Pushed by us, listed by the registry (here by the tag schema), brought, kept and passed on."""
    made = ImageLayout(tmp_path / "signed")
    image = made.add_image([LayerBuilder().file("a", "signed").layer()])
    subject = image["digest"]
    made.tag("image", image)
    repository = f"{registry.address}/work/signed"
    registry.push(made, "image", "work/signed:1")
    about = {key: image[key] for key in ("mediaType", "digest", "size")}
    artifacts = [artifact(made, kind, about) for kind in (SBOM, "application/sig")]
    digests = [made.tag(f"a{number}", described) for number, described in enumerate(artifacts)]
    archive = made.archive(tmp_path / "signed.tar")
    words = ("image", "import", "--all-platforms", "--no-unpack", "--base-name", repository, str(archive))
    run(agent, *words)
    assert referrers(agent, "--local", f"{repository}:image") == set(digests)
    for tag in ("a0", "a1"):  # Debian's registry has no referrers API: the push writes the list
        run(agent, "image", "push", "--plain-http", f"{repository}:{tag}")
    run(agent, "image", "rm", "--sync", *[f"{repository}:{tag}" for tag in ("image", "a0", "a1")])
    path = f"/v2/work/signed/manifests/sha256-{subject[7:]}"
    _, _, body = registry.request("GET", path, headers={"Accept": OCI["index"]}, expect=200)
    listed = {entry["digest"]: entry["artifactType"] for entry in json.loads(body)["manifests"]}
    assert listed == dict(zip(digests, (SBOM, "application/sig"), strict=True))

    name = f"{repository}:1"
    assert referrers(agent, "--plain-http", name) == set(digests)  # the image isn't here
    run(agent, "image", "pull", "--plain-http", "--with-referrers", name)
    agent.post("/v1/gc", {})
    assert referrers(agent, "--local", name) == set(digests)
    assert referrers(agent, "--local", "--type", SBOM, name) == {digests[0]}
    bill = document(agent, digests[0])["layers"][0]["digest"]
    assert document(agent, bill)["of"] == subject
    copy = f"{registry.address}/work/copied:1"
    run(agent, "image", "push", "--plain-http", "--with-referrers", name, copy)
    assert referrers(agent, "--plain-http", copy) == set(digests)
    run(agent, "image", "rm", "--sync", name)
    here = {item["digest"] for item in agent.get("/v1/default/content")["items"]}
    assert not here & {*digests, bill, subject}


def referrers(agent: Daemon, *words: str) -> set[str]:
    found = json.loads(run(agent, "--json", "image", "referrers", *words))
    return {each["digest"] for each in found["referrers"]}


# ---------------------------------------------------------------- other programs
def test_skopeo_reads_what_was_converted(
    agent: Daemon, images: dict[str, str], registry: Registry, tmp_path: Path
) -> None:
    """Through the registry and through an archive, zstd in OCI's form and gzip in Docker's."""
    for form, compression in (("oci", "zstd"), ("docker", "gzip")):
        name = f"{registry.address}/work/skopeo:{form}"
        run(agent, "image", "convert", f"--{form}", "--compression", compression, images["docker"], name)
        run(agent, "image", "push", "--plain-http", name)
        tool(
            "skopeo",
            "copy",
            "-q",
            "--all",
            "--src-tls-verify=false",
            f"docker://{name}",
            f"dir:{tmp_path}/{form}",
        )
        archive = tmp_path / f"{form}.tar"
        run(agent, "image", "export", "-o", str(archive), name)
        for kind in ("oci-archive", "docker-archive"):
            shown = json.loads(tool("skopeo", "inspect", f"{kind}:{archive}"))
            assert (shown["Architecture"], len(shown["Layers"])) == ("amd64", 2)


def test_umoci_unpacks_what_we_export(agent: Daemon, images: dict[str, str], tmp_path: Path) -> None:
    archive = tmp_path / "out.tar"
    run(agent, "image", "export", "-o", str(archive), images["two"])
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12's Python has none
        tar.extractall(tmp_path / "out")
    index = json.loads((tmp_path / "out/index.json").read_text())
    (tag,) = {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]}
    tool(
        "skopeo", "copy", "-q", f"oci:{tmp_path}/out:{tag}", f"oci:{tmp_path}/plain:1"
    )  # umoci knows no indexes
    tool("umoci", "unpack", "--image", f"{tmp_path}/plain:1", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle/rootfs/etc/name").read_text() == "linux/amd64"
    assert (tmp_path / "bundle/rootfs/bin/busybox").stat().st_nlink == 4


def test_what_umoci_builds_comes_in(agent: Daemon, layout: ImageLayout, tmp_path: Path) -> None:
    """A layer of umoci's with a whiteout, on an image of ours; as a layout and through skopeo's archives."""
    work = tmp_path / "umoci"
    tool("skopeo", "copy", "-q", "--override-arch", "amd64", f"oci:{layout.path}:two", f"oci:{work}:base")
    tool("umoci", "unpack", "--image", f"{work}:base", str(tmp_path / "bundle"))
    rootfs = tmp_path / "bundle/rootfs"
    (rootfs / "etc/group").unlink()
    (rootfs / "etc/umoci").write_text("was here")
    tool("umoci", "repack", "--image", f"{work}:made", str(tmp_path / "bundle"))
    tool("umoci", "config", "--image", f"{work}:made", "--config.cmd", "ls", "--config.cmd", "/etc")
    archives = {}
    for kind in ("oci-archive", "docker-archive"):
        archives[kind] = tmp_path / f"{kind}.tar"
        tool("skopeo", "copy", "-q", f"oci:{work}:made", f"{kind}:{archives[kind]}:example.com/{kind}:1")
    for kind, archive in archives.items():
        name = f"example.com/{kind}:1"
        assert name in run(agent, "image", "import", str(archive))
        listed = run(agent, "run", "--rm", "--pull", "never", name).split()
        assert "umoci" in listed
        assert "group" not in listed


def test_many_platforms_through_skopeo(agent: Daemon, layout: ImageLayout, registry: Registry) -> None:
    """`skopeo copy --all` of what we pushed is what we pushed, and comes back in as it was."""
    name = f"{registry.address}/work/all"
    registry.push(layout, "two", "work/all:1")
    tool(
        "skopeo",
        "copy",
        "-q",
        "--all",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        f"docker://{name}:1",
        f"docker://{name}:2",
    )
    buffer = io.BytesIO()
    assert registry.digest("work/all:1") == registry.digest("work/all:2")
    tool(
        "skopeo",
        "copy",
        "-q",
        "--all",
        "--src-tls-verify=false",
        f"docker://{name}:2",
        f"oci:{layout.path.parent}/all:two",
    )
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(layout.path.parent / "all", ".")
    (layout.path.parent / "all.tar").write_bytes(buffer.getvalue())
    words = (
        "image",
        "import",
        "--all-platforms",
        "--base-name",
        "example.com/all",
        str(layout.path.parent / "all.tar"),
    )
    run(agent, *words)
    assert target(agent, "example.com/all:two") == registry.digest("work/all:1")
    data = (
        agent.root / "content/blobs" / target(agent, "example.com/all:two").replace(":", "/")
    ).read_bytes()
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == registry.digest("work/all:1")


async def test_the_python_client(agent: Daemon, images: dict[str, str]) -> None:
    """What the command line can do, a program can."""
    async with Client(agent.socket_path) as client:
        wanted = ImageConversion("example.com/client:1", form="docker", platforms=("linux/amd64",))
        async with client.images.convert_work(images["two"], wanted) as work:
            async for progress in work:
                assert progress.phase
        assert work.result.media_type == DOCKER["index"]
        assert (await client.images.label("example.com/client:1", {"a": "1"})).labels == {"a": "1"}
        (checked,) = await client.images.check(["example.com/client:1"])
        assert checked.complete
        assert (await client.images.usage(["example.com/client:1"])).images[0].content_unique > 0
        assert (await client.images.referrers(images["two"])).referrers == ()
        desired = ContainerDesired("example.com/client:1", pull="never", state="present")
        await client.containers.put("taken", desired)
        request = ContainerCommit("example.com/client:2", changes=("USER 1",))
        assert (await client.containers.commit("taken", request)).layer == ""
        async with client.snapshots.diff("overlayfs", "taken", SnapshotDiff(compression="none")) as parts:
            assert b"".join([part async for part in parts]) == bytes(1024)
        await client.containers.delete("taken")
