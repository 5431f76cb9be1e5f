"""The command line moves images: to a real registry, through archives, between two agents; with skopeo."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tricorn_testing.daemon import Daemon, running_daemon, segment
from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_files
from tricorn_testing.registry import Registry
from tricorn_testing.secure_registry import PASSWORD, USER, password_registry

pytestmark = [pytest.mark.integration, pytest.mark.root]


@pytest.fixture(scope="module")
def other() -> Iterator[Daemon]:
    """An agent that has nothing."""
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> ImageLayout:
    """`one`: one platform, gzip and plain layers; `two`: an index of two platforms; `nested`: an index of it."""
    made = ImageLayout(tmp_path_factory.mktemp("layout"))
    base = busybox_files(LayerBuilder()).layer("gzip")
    images = [
        made.add_image(
            [base, LayerBuilder().file("etc/name", platform).layer("")],
            {"Cmd": ["/bin/sh"]},
            platform=platform,
        )
        for platform in ("linux/amd64", "linux/arm64")
    ]
    made.tag("one", images[0])
    two = made.add_index(images)
    made.tag("two", two)
    made.tag("nested", made.add_index([two]))
    return made


@pytest.fixture(scope="module")
def pulled(agent: Daemon, registry: Registry, layout: ImageLayout) -> str:
    """`one` is in the agent, under this name."""
    reference = registry.push(layout, "one", "moves/one:1")
    agent.put("/v1/default/images", {"reference": reference, "plain_http": True})
    return reference


def run(agent: Daemon, *words: str, status: int = 0, **options: Any) -> str:
    done = agent.cli(*words, **options)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def items(agent: Daemon, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = agent.get(path)["items"]
    return found


def digest_of(agent: Daemon, name: str) -> str:
    found: dict[str, str] = agent.get(f"/v1/default/images/{segment(name)}")
    return found["digest"]


# ---------------------------------------------------------------- push and tag
def test_push(agent: Daemon, registry: Registry, pulled: str) -> None:
    target = f"{registry.address}/moves/pushed:2"
    printed = run(agent, "image", "push", "--plain-http", pulled, target)
    assert printed == f"{target}@{digest_of(agent, pulled)}\n"
    assert registry.digest("moves/pushed:2") == digest_of(agent, pulled)
    result = json.loads(run(agent, "--json", "image", "push", "--plain-http", pulled, target))
    assert result == {"reference": target, "digest": digest_of(agent, pulled)}


def test_what_came_from_the_registry_is_mounted_there(agent: Daemon, registry: Registry, pulled: str) -> None:
    """Blobs remember the repository they came from: not a byte of them is sent again."""
    before = statistics(agent)["bytes_uploaded"]
    run(agent, "image", "push", "--plain-http", pulled, f"{registry.address}/moves/mounted:1")
    assert statistics(agent)["bytes_uploaded"] == before
    assert registry.digest("moves/mounted:1") == digest_of(agent, pulled)


def statistics(agent: Daemon) -> dict[str, int]:
    found: dict[str, int] = agent.get("/v1/info")["statistics"]["registry"]
    return found


def test_push_with_a_password(agent: Daemon, pulled: str, tmp_path: Path) -> None:
    with password_registry(tmp_path / "password", tmp_path / "storage") as locked:
        target = f"{locked.address}/moves/locked:1"
        assert "wants authentication" in run(agent, "image", "push", pulled, target, status=14)
        run(agent, "image", "push", "-u", USER, "--password-stdin", pulled, target, stdin=f"{PASSWORD}\n")
    assert PASSWORD not in agent.log


def test_push_of_one_platform_of_many(agent: Daemon, registry: Registry, layout: ImageLayout) -> None:
    """What was pulled for one platform can't be pushed as a whole: the message says what can be done."""
    reference = registry.push(layout, "two", "moves/two:1")
    agent.put("/v1/default/images", {"reference": reference, "plain_http": True, "platform": "linux/amd64"})
    target = f"{registry.address}/moves/alone:1"
    if not has_all(agent, layout):
        assert "name the platform" in run(agent, "image", "push", "--plain-http", reference, target, status=4)
    run(agent, "image", "push", "--plain-http", "--platform", "linux/amd64", reference, target)
    manifests = layout.document(registry.digest("moves/two:1"))["manifests"]
    assert registry.digest("moves/alone:1") == manifests[0]["digest"]


def has_all(agent: Daemon, layout: ImageLayout) -> bool:
    blobs = {path.name for path in (layout.path / "blobs/sha256").iterdir()}
    return blobs <= {item["digest"].partition(":")[2] for item in items(agent, "/v1/default/content")}


def test_nobody_answers(agent: Daemon, pulled: str) -> None:
    assert "127.0.0.1:1" in run(agent, "image", "push", pulled, "127.0.0.1:1/a/b:1", status=12, timeout=120)


def test_tag(agent: Daemon, pulled: str) -> None:
    run(agent, "image", "tag", pulled, "example.com/tagged:1", "example.com/tagged:2")
    assert digest_of(agent, "example.com/tagged:2") == digest_of(agent, pulled)
    run(agent, "image", "tag", "nothing:1", "example.com/tagged:3", status=4)
    run(agent, "image", "rm", "example.com/tagged:1", "example.com/tagged:2")


# ---------------------------------------------------------------- archives
def test_an_export_is_reproducible_and_skopeo_reads_it(agent: Daemon, pulled: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    for path in (first, second):
        run(agent, "image", "export", "-o", str(path), pulled)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}
    for kind in ("oci-archive", "docker-archive"):
        shown = subprocess.run(
            ["skopeo", "inspect", f"{kind}:{first}"], check=True, capture_output=True, timeout=60
        )
        assert json.loads(shown.stdout)["Architecture"] == "amd64"


def test_an_archive_goes_to_another_agent(agent: Daemon, other: Daemon, pulled: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    run(agent, "image", "export", "-o", str(archive), pulled)
    printed = run(other, "image", "import", str(archive))
    assert printed == f"{pulled}@{digest_of(agent, pulled)}\n"
    assert other.get(f"/v1/default/images/{segment(pulled)}")["unpacked"] is True
    name = run(other, "run", "--rm", "--pull", "never", pulled, "cat", "/etc/name")
    assert name == "linux/amd64"
    other.post("/v1/gc", {})
    run(other, "image", "export", "-o", str(tmp_path / "back.tar"), pulled)
    assert (tmp_path / "back.tar").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"])
def test_packed_archives_through_a_pipe(
    other: Daemon, layout: ImageLayout, tmp_path: Path, pack: Any
) -> None:
    data = pack(layout.archive(tmp_path / "layout.tar").read_bytes())
    (tmp_path / "packed").write_bytes(data)
    words = [
        "--json",
        "image",
        "import",
        "--all-platforms",
        "--base-name",
        "example.com/all",
        str(tmp_path / "packed"),
    ]
    names = {image["name"]: image["digest"] for image in json.loads(run(other, *words))["images"]}
    assert set(names) == {"example.com/all:one", "example.com/all:two", "example.com/all:nested"}
    other.post("/v1/gc", {})
    assert has_all(other, layout)
    run(other, "image", "export", "--all-platforms", "-o", str(tmp_path / "out"), *names)
    with tarfile.open(tmp_path / "out") as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    assert [entry["digest"] for entry in index["manifests"]] == [names[name] for name in names]
    run(other, "image", "rm", "--sync", *names)


@pytest.mark.parametrize("compress", [False, True])
def test_what_docker_saves(other: Daemon, layout: ImageLayout, tmp_path: Path, compress: bool) -> None:
    archive = tmp_path / "docker.tar"
    command = [
        "skopeo",
        "copy",
        "-q",
        f"oci:{layout.path}:one",
        f"docker-archive:{archive}:example.com/saved:1",
    ]
    subprocess.run(command, check=True, timeout=60)
    options = ["--compress"] if compress else []
    run(other, "image", "import", *options, str(archive))
    found = other.get(f"/v1/default/images/{segment('example.com/saved:1')}")
    assert found["unpacked"] is True
    assert {layer["media_type"].endswith("gzip") for layer in found["layers"]} == {compress}
    assert (
        run(other, "run", "--rm", "--pull", "never", "example.com/saved:1", "cat", "/etc/name")
        == "linux/amd64"
    )
    run(other, "image", "rm", "--sync", "example.com/saved:1")


@pytest.mark.parametrize("called", ["short:1", "lonely"])
def test_what_is_brought_in_runs_by_the_name_that_is_told(
    other: Daemon, layout: ImageLayout, tmp_path: Path, called: str
) -> None:
    """The names of a layout need not be whole ones, and a tag alone is none."""
    archive = tmp_path / "layout.tar"
    command = ["skopeo", "copy", "-q", f"oci:{layout.path}:one", f"oci-archive:{archive}:{called}"]
    subprocess.run(command, check=True, timeout=60)
    wanted = {"path": str(archive)}
    done = other.put("/v1/default/archive/import", wanted)
    (name,) = done["after"]["images"]
    assert re.fullmatch(r"docker\.io/library/(short:1|import-[0-9-]+:lonely)", name)
    assert other.put("/v1/default/archive/import", wanted)["changed"] is False
    for text in (name, name.removeprefix("docker.io/library/")):
        assert run(other, "run", "--rm", "--pull", "never", text, "cat", "/etc/name") == "linux/amd64"
    run(other, "image", "rm", "--sync", name)


def test_a_platform_that_the_archive_lacks(other: Daemon, layout: ImageLayout, tmp_path: Path) -> None:
    archive = layout.archive(tmp_path / "layout.tar")
    words = ["image", "import", "--platform", "linux/s390x", "--base-name", "example.com/x", str(archive)]
    assert "nothing for platform linux/s390x" in run(other, *words, status=4)


# ---------------------------------------------------------------- hostile archives
def archive_of(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in more:
            tar.addfile(info)
    return path


def entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


LAYOUT = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
EMPTY = LAYOUT | {"index.json": b'{"schemaVersion": 2, "manifests": []}'}


def manifest_entry(data: bytes) -> bytes:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    one = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": len(data)}
    return json.dumps({"schemaVersion": 2, "manifests": [one]}).encode()


@pytest.mark.parametrize(
    ("files", "more", "status", "words"),
    [
        pytest.param({}, (), 2, "no archive of images", id="empty"),
        pytest.param(LAYOUT, (), 2, "without index.json", id="no-index"),
        pytest.param({"oci-layout": b'{"imageLayoutVersion": "9"}'}, (), 2, "unknown version", id="version"),
        pytest.param(LAYOUT | {"index.json": b"{"}, (), 2, "not valid JSON", id="json"),
        pytest.param(LAYOUT | {"index.json": b"x" * (5 << 20)}, (), 7, "too large", id="large-index"),
        pytest.param({"../x": b"x"}, (), 2, "leads out", id="parent"),
        pytest.param({"/etc/x": b"x"}, (), 2, "leads out", id="absolute"),
        pytest.param({}, (entry("a", tarfile.SYMTYPE, "../../etc/shadow"),), 2, "leads out", id="symlink"),
        pytest.param({}, (entry("a", tarfile.LNKTYPE, "/etc/shadow"),), 2, "no file", id="hard-link"),
        pytest.param({}, (entry("a", tarfile.CHRTYPE),), 2, "no file", id="device"),
        pytest.param({}, (entry("a", tarfile.FIFOTYPE),), 2, "no file", id="fifo"),
        pytest.param({"blobs/sha256/" + "0" * 64: b"x"}, (), 13, "damaged", id="wrong-digest"),
        pytest.param({"blobs/md5/" + "0" * 32: b"x"}, (), 2, "digest", id="weak-digest"),
        pytest.param(LAYOUT | {"index.json": manifest_entry(b"{}")}, (), 4, "lacks blob", id="missing-blob"),
        pytest.param({"manifest.json": b'[{"Config": "c", "Layers": []}]'}, (), 2, "lacks a file", id="docker"),
        pytest.param({"manifest.json": b"[[]]"}, (), 2, "no list of images", id="docker-list"),
        pytest.param(
            {"manifest.json": b'[{"Config": "a", "Layers": []}]'}, (entry("a", tarfile.SYMTYPE, "a"),), 2,
            "lacks a file", id="docker-loop",
        ),
        pytest.param(EMPTY, (), 4, "nothing for platform", id="no-image"),
    ],
)  # fmt: skip
def test_hostile_archives(
    other: Daemon,
    tmp_path: Path,
    files: dict[str, bytes],
    more: tuple[tarfile.TarInfo, ...],
    status: int,
    words: str,
) -> None:
    before = items(other, "/v1/default/images")
    archive = archive_of(tmp_path / "hostile.tar", files, *more)
    assert words in run(other, "image", "import", str(archive), status=status)
    assert items(other, "/v1/default/images") == before


def test_archives_that_break_off(other: Daemon, layout: ImageLayout, tmp_path: Path) -> None:
    data = layout.archive(tmp_path / "layout.tar").read_bytes()
    for size in (100, 512, len(data) // 2):
        (tmp_path / "part.tar").write_bytes(data[:size])
        done = other.cli("image", "import", "--base-name", "example.com/part", str(tmp_path / "part.tar"))
        assert done.returncode == 2, done.stderr
    assert other.get("/v1/info")["statistics"]["operations"]["running"] == 0


def test_nothing_is_left_of_a_broken_import(other: Daemon) -> None:
    other.post("/v1/gc", {})
    assert list((other.root / "content").glob("ingests/*")) == []
