"""containerd's `ctr` moves images: by the transfer service (2.1), or by itself over content and images (1.6)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tricorn_testing.ctr import Ctr
from tricorn_testing.daemon import ApiError, Daemon, segment
from tricorn_testing.images import ImageLayout, LayerBuilder
from tricorn_testing.registry import Registry
from tricorn_testing.secure_registry import PASSWORD, USER, password_registry

pytestmark = [pytest.mark.integration, pytest.mark.root]


@frozen
class Picture:
    """An image for two platforms that no other test has a blob of; `blobs` by platform."""

    reference: str
    digest: str
    blobs: dict[str, list[str]]
    layout: ImageLayout


@pytest.fixture
def picture(registry: Registry, tmp_path: Path) -> Picture:
    return make_picture(registry, tmp_path / "picture")


def make_picture(registry: Registry, directory: Path) -> Picture:
    layout = ImageLayout(directory)
    salt = os.urandom(6).hex()
    blobs, entries = {}, []
    for platform in ("linux/amd64", "linux/arm64"):
        first = LayerBuilder().directory("etc").file("etc/salt", f"{salt} {platform}")
        layers = [first.layer("gzip"), LayerBuilder().file("big", os.urandom(200_000)).layer("gzip")]
        entry = layout.add_image(layers, {"Cmd": ["/bin/sh"], "Labels": {"salt": salt}}, platform=platform)
        manifest = layout.document(entry["digest"])
        parts = [manifest["config"], *manifest["layers"]]
        blobs[platform] = [entry["digest"], *(part["digest"] for part in parts)]
        entries.append(entry)
    digest = layout.tag("app", layout.add_index(entries))
    return Picture(registry.push(layout, "app", f"ctr/{salt}:1"), digest, blobs, layout)


def image(agent: Daemon, ctr: Ctr, name: str) -> dict[str, Any]:
    found: dict[str, Any] = agent.get(f"/v1/{ctr.namespace}/images/{segment(name)}")
    return found


def has(agent: Daemon, ctr: Ctr, digest: str) -> bool:
    status, _, _ = agent.exchange("GET", f"/v1/{ctr.namespace}/content/{segment(digest)}")
    return status == 200


def remove(ctr: Ctr, *names: str) -> None:
    ctr.run("images", "rm", "--sync", *names)


def test_pull(ctr: Ctr, ctr_agent: Daemon, picture: Picture) -> None:
    done = ctr.run("images", "pull", "--plain-http", picture.reference)
    assert "elapsed" in done.stdout
    if ctr.version != "1.6":
        assert "complete" in done.stdout
        assert "Completed pull" in done.stdout or "saved" in done.stdout
    found = image(ctr_agent, ctr, picture.reference)
    assert found["digest"] == picture.digest
    assert found["unpacked"] is True
    assert all(has(ctr_agent, ctr, digest) for digest in picture.blobs["linux/amd64"])
    assert not has(ctr_agent, ctr, picture.blobs["linux/arm64"][-1])
    (row,) = [row for row in ctr.rows("images", "ls") if row["REF"] == picture.reference]
    assert row["DIGEST"] == picture.digest


def test_pull_again_brings_nothing(ctr: Ctr, ctr_agent: Daemon, picture: Picture) -> None:
    ctr.run("images", "pull", "--plain-http", picture.reference)
    before = image(ctr_agent, ctr, picture.reference)
    received = statistics(ctr_agent)["bytes_received"]
    done = ctr.run("images", "pull", "--plain-http", picture.reference)
    assert "elapsed" in done.stdout
    after = image(ctr_agent, ctr, picture.reference)
    assert {**after, "updated_at": ""} == {**before, "updated_at": ""}
    assert statistics(ctr_agent)["bytes_received"] == received


def statistics(agent: Daemon) -> dict[str, int]:
    found: dict[str, int] = agent.get("/v1/info")["statistics"]["registry"]
    return found


def test_pull_for_another_platform(ctr: Ctr, ctr_agent: Daemon, picture: Picture) -> None:
    ctr.run("images", "pull", "--plain-http", "--platform", "linux/arm64", picture.reference)
    assert all(has(ctr_agent, ctr, digest) for digest in picture.blobs["linux/arm64"])
    assert not has(ctr_agent, ctr, picture.blobs["linux/amd64"][-1])


def test_pull_for_all_platforms(ctr: Ctr, ctr_agent: Daemon, picture: Picture) -> None:
    ctr.run("images", "pull", "--plain-http", "--all-platforms", picture.reference)
    assert all(has(ctr_agent, ctr, digest) for each in picture.blobs.values() for digest in each)
    rows = ctr.rows("images", "ls")
    assert "linux/amd64,linux/arm64" in {row["PLATFORMS"] for row in rows if row["REF"] == picture.reference}


def test_labels(ctr: Ctr, ctr_agent: Daemon, picture: Picture) -> None:
    ctr.run("images", "pull", "--plain-http", "--label", "team=blue", picture.reference)
    assert image(ctr_agent, ctr, picture.reference)["labels"]["team"] == "blue"


def test_what_is_pulled_outlives_a_collection(ctr: Ctr, ctr_agent: Daemon, picture: Picture) -> None:
    ctr.run("images", "pull", "--plain-http", "--all-platforms", picture.reference)
    ctr_agent.post("/v1/gc", {})
    assert all(has(ctr_agent, ctr, digest) for each in picture.blobs.values() for digest in each)
    remove(ctr, picture.reference)
    assert not any(has(ctr_agent, ctr, digest) for each in picture.blobs.values() for digest in each)


def test_a_platform_that_the_image_lacks(ctr: Ctr, picture: Picture) -> None:
    done = ctr.run(
        "images", "pull", "--plain-http", "--platform", "linux/s390x", picture.reference, check=False
    )
    assert done.returncode != 0
    if ctr.version != "1.6":
        assert "nothing for platform linux/s390x" in done.stderr


def test_an_image_that_is_not_there(ctr: Ctr, registry: Registry) -> None:
    done = ctr.run("images", "pull", "--plain-http", f"{registry.address}/ctr/none:1", check=False)
    assert done.returncode != 0
    assert "not found" in done.stderr.lower() or "404" in done.stderr


def test_nobody_answers(ctr: Ctr) -> None:
    done = ctr.run("images", "pull", "--plain-http", "127.0.0.1:1/ctr/none:1", check=False)
    assert done.returncode != 0
    assert "127.0.0.1:1" in done.stderr


@pytest.fixture
def guarded(tmp_path: Path, registry: Registry) -> Iterator[tuple[Registry, Picture]]:
    """A registry with a password, and an image in it."""
    with password_registry(tmp_path / "password", tmp_path / "password/storage") as locked:
        layout = tmp_path / "locked"
        picture = make_picture(registry, layout)
        subprocess.run(
            ["skopeo", "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false",
             f"--dest-creds={USER}:{PASSWORD}", f"oci:{layout}:app", f"docker://{locked.address}/ctr/locked:1"],
            check=True, timeout=60,
        )  # fmt: skip
        yield locked, picture


def test_credentials(ctr: Ctr, ctr_agent: Daemon, guarded: tuple[Registry, Picture]) -> None:
    """They come over a stream, when the registry asks."""
    locked, picture = guarded
    reference = f"{locked.address}/ctr/locked:1"
    for credentials in ((), ("--user", f"{USER}:wrong")):
        done = ctr.run("images", "pull", "--plain-http", *credentials, reference, check=False)
        assert done.returncode != 0
        assert "401" in done.stderr or "authentication" in done.stderr or "authorization" in done.stderr
    ctr.run("images", "pull", "--plain-http", "--user", f"{USER}:{PASSWORD}", reference)
    assert image(ctr_agent, ctr, reference)["digest"] == picture.digest
    ctr.run("images", "pull", "--plain-http", "--all-platforms", "--user", f"{USER}:{PASSWORD}", reference)
    other = f"{locked.address}/ctr/pushed:1"
    ctr.run("images", "push", "--plain-http", "--user", f"{USER}:{PASSWORD}", other, reference)
    assert PASSWORD not in ctr_agent.log


def test_what_the_registry_was_asked(ctr: Ctr, guarded: tuple[Registry, Picture]) -> None:
    """Shown on demand; of credentials not a trace."""
    locked, _ = guarded
    reference = f"{locked.address}/ctr/locked:1"
    login = ["--user", f"{USER}:{PASSWORD}"]
    done = ctr.run("images", "pull", "--plain-http", "--http-dump", *login, reference)
    assert "HTTP/1.1 200" in done.stderr
    assert "/v2/ctr/locked/manifests/1" in done.stderr
    if ctr.version != "1.6":  # the older one asks by itself, and shows what it sends
        assert "Authorization: <redacted>" in done.stderr


def test_push(ctr: Ctr, ctr_agent: Daemon, picture: Picture, registry: Registry) -> None:
    ctr.run("images", "pull", "--plain-http", "--all-platforms", picture.reference)
    name = picture.reference.removeprefix(f"{registry.address}/").replace(":1", f"-copy{ctr.version[0]}:2")
    for _ in range(2):
        done = ctr.run("images", "push", "--plain-http", f"{registry.address}/{name}", picture.reference)
        assert "elapsed" in done.stdout
    assert registry.digest(name) == picture.digest
    repository = name.partition(":")[0]
    for digest in picture.blobs["linux/arm64"][1:]:
        _, _, data = registry.request("GET", f"/v2/{repository}/blobs/{digest}", expect=200)
        assert "sha256:" + hashlib.sha256(data).hexdigest() == digest


def test_push_of_what_is_not_all_there(ctr: Ctr, picture: Picture, registry: Registry) -> None:
    ctr.run("images", "pull", "--plain-http", picture.reference)
    name = f"{registry.address}/ctr/part:1"
    done = ctr.run("images", "push", "--plain-http", name, picture.reference, check=False)
    assert done.returncode != 0
    assert "not found" in done.stderr or "missing" in done.stderr or "does not exist" in done.stderr


def test_tag(ctr: Ctr, ctr_agent: Daemon, picture: Picture) -> None:
    ctr.run("images", "pull", "--plain-http", picture.reference)
    name = "docker.io/library/tagged:1"
    ctr.run("images", "tag", "--force", picture.reference, name)
    assert image(ctr_agent, ctr, name)["digest"] == picture.digest
    done = ctr.run("images", "tag", "docker.io/library/nothing:1", "docker.io/library/x:1", check=False)
    assert done.returncode != 0
    assert "not found" in done.stderr or "does not exist" in done.stderr
    remove(ctr, name)


def test_export_and_import(ctr: Ctr, ctr_agent: Daemon, picture: Picture, tmp_path: Path) -> None:
    """All platforms: what comes back is what went out."""
    ctr.run("images", "pull", "--plain-http", "--all-platforms", picture.reference)
    archive = tmp_path / "archive.tar"
    ctr.run("images", "export", "--all-platforms", str(archive), picture.reference)
    check_archive(archive, [digest for each in picture.blobs.values() for digest in each], picture.reference)
    remove(ctr, picture.reference)
    assert not has(ctr_agent, ctr, picture.digest)
    ctr.run("images", "import", "--all-platforms", str(archive))
    found = image(ctr_agent, ctr, picture.reference)
    assert (found["digest"], found["unpacked"]) == (picture.digest, True)
    ctr_agent.post("/v1/gc", {})
    assert all(has(ctr_agent, ctr, digest) for each in picture.blobs.values() for digest in each)


def check_archive(archive: Path, digests: list[str], name: str) -> None:
    """It is a whole OCI layout, byte for byte, with a manifest.json that names the image."""
    with tarfile.open(archive) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        contents = {path: file.read() for path, file in files.items() if file}
    for digest in digests:
        data = contents[f"blobs/sha256/{digest.partition(':')[2]}"]
        assert "sha256:" + hashlib.sha256(data).hexdigest() == digest
    (entry,) = json.loads(contents["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == name
    (docker,) = json.loads(contents["manifest.json"])
    assert docker["RepoTags"] == [name]
    assert all(layer in contents for layer in [docker["Config"], *docker["Layers"]])


def test_export_of_one_platform(ctr: Ctr, ctr_agent: Daemon, picture: Picture, tmp_path: Path) -> None:
    ctr.run("images", "pull", "--plain-http", picture.reference)
    archive = tmp_path / "one.tar"
    ctr.run("images", "export", "--platform", "linux/amd64", str(archive), picture.reference)
    check_archive(archive, picture.blobs["linux/amd64"], picture.reference)
    remove(ctr, picture.reference)
    ctr.run("images", "import", str(archive))
    assert image(ctr_agent, ctr, picture.reference)["unpacked"] is True
    done = ctr.run(
        "images", "export", "--all-platforms", str(tmp_path / "two.tar"), picture.reference, check=False
    )
    assert done.returncode != 0


def test_import_of_what_docker_saved(ctr: Ctr, ctr_agent: Daemon, picture: Picture, tmp_path: Path) -> None:
    archive = tmp_path / "docker.tar"
    subprocess.run(
        ["skopeo", "copy", "-q", "--override-arch=amd64", f"oci:{picture.layout.path}:app",
         f"docker-archive:{archive}:example.com/docker/saved:1"],
        check=True, timeout=60,
    )  # fmt: skip
    ctr.run("images", "import", str(archive))
    found = image(ctr_agent, ctr, "example.com/docker/saved:1")
    assert found["unpacked"] is True
    assert found["config"]["Cmd"] == ["/bin/sh"]
    remove(ctr, "example.com/docker/saved:1")


def test_import_with_a_base_name(ctr: Ctr, ctr_agent: Daemon, picture: Picture, tmp_path: Path) -> None:
    """A layout's tags are completed with it."""
    archive = picture.layout.archive(tmp_path / "layout.tar")
    done = ctr.run(
        "images", "import", "--all-platforms", "--base-name", "example.com/base/name", str(archive)
    )
    if ctr.version != "1.6":
        assert "saved" in done.stdout
    assert image(ctr_agent, ctr, "example.com/base/name:app")["digest"] == picture.digest
    remove(ctr, "example.com/base/name:app")


def test_the_index_of_an_archive(ctr: Ctr, ctr_agent: Daemon, picture: Picture, tmp_path: Path) -> None:
    """It can have a name, too, and keeps what it lists."""
    archive = picture.layout.archive(tmp_path / "layout.tar")
    names = ["--base-name", "example.com/listed", "--index-name", "example.com/index:1"]
    ctr.run("images", "import", "--all-platforms", *names, str(archive))
    index = image(ctr_agent, ctr, "example.com/index:1")["digest"]
    assert index == "sha256:" + hashlib.sha256((picture.layout.path / "index.json").read_bytes()).hexdigest()
    remove(ctr, "example.com/listed:app")
    assert all(has(ctr_agent, ctr, digest) for each in picture.blobs.values() for digest in each)
    remove(ctr, "example.com/index:1")
    assert not has(ctr_agent, ctr, picture.digest)


def test_an_archive_without_dockers_manifest(ctr: Ctr, picture: Picture, tmp_path: Path) -> None:
    ctr.run("images", "pull", "--plain-http", picture.reference)
    archive = tmp_path / "archive.tar"
    flags = [] if ctr.version == "1.6" else ["--skip-manifest-json"]
    ctr.run("images", "export", *flags, str(archive), picture.reference)
    with tarfile.open(archive) as tar:
        assert ("manifest.json" in tar.getnames()) == (ctr.version == "1.6")


def test_import_of_damaged_content(ctr: Ctr, ctr_agent: Daemon, picture: Picture, tmp_path: Path) -> None:
    blob = picture.layout.blob(picture.blobs["linux/amd64"][-1])
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    archive = picture.layout.archive(tmp_path / "damaged.tar")
    done = ctr.run("images", "import", "--base-name", "example.com/bad/name", str(archive), check=False)
    assert done.returncode != 0
    if ctr.version != "1.6":  # the older one names the image before it looks at the layers
        assert "damaged" in done.stderr
        with pytest.raises(ApiError):
            image(ctr_agent, ctr, "example.com/bad/name:app")
    assert not has(ctr_agent, ctr, picture.blobs["linux/amd64"][-1])


def test_import_of_something_else(ctr: Ctr, tmp_path: Path) -> None:
    archive = tmp_path / "nothing.tar"
    archive.write_bytes(b"this is no archive" * 100)
    done = ctr.run("images", "import", str(archive), check=False)
    assert done.returncode != 0
