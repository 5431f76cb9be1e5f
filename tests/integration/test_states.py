"""Desired states over HTTP, as modules use them: each planned, done, done again, and undone by a change."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.agentclient import UnixConnection
from tricorn_testing.daemon import ApiError, Daemon, segment
from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_files
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.integration, pytest.mark.root]


@pytest.fixture(scope="module")
def image(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An index of two platforms."""
    made = ImageLayout(tmp_path_factory.mktemp("layout"))
    base = busybox_files(LayerBuilder()).layer("gzip")
    images = [
        made.add_image([base, LayerBuilder().file("etc/name", platform).layer("gzip")], {}, platform=platform)
        for platform in ("linux/amd64", "linux/arm64")
    ]
    made.tag("two", made.add_index(images))
    return registry.push(made, "two", "states/two:1")


def settled(agent: Daemon, path: str, body: Any) -> dict[str, Any]:
    """Plan, do it and do it again; the plan says what is done, and the second time there is nothing to do."""
    planned = agent.put(path, body, plan="true")
    done = agent.put(path, body)
    assert (planned["changed"], planned["actions"]) == (done["changed"], done["actions"])
    assert planned["before"] == done["before"]
    again = agent.put(path, body)
    assert (again["changed"], again["actions"]) == (False, [])
    assert again["before"] == again["after"] == done["after"]
    result: dict[str, Any] = done
    return result


def verbs(change: dict[str, Any]) -> list[str]:
    return [action["verb"] for action in change["actions"]]


def test_states_of_an_image(agent: Daemon, registry: Registry, image: str, tmp_path: Path) -> None:
    one = f"/v1/default/images/{segment(image)}"
    pull: dict[str, Any] = {"reference": image, "plain_http": True}
    assert verbs(agent.put("/v1/default/images", pull)) == ["pull"]
    blobs = len(agent.get("/v1/default/content")["items"])
    wide = {**pull, "platforms": ["linux/arm64"]}
    assert verbs(agent.put("/v1/default/images", wide)) == ["pull"]
    assert agent.put("/v1/default/images", wide)["changed"] is False
    assert len(agent.get("/v1/default/content")["items"]) == blobs + 3  # manifest, config, layer

    with pytest.raises(ApiError) as caught:
        agent.put("/v1/default/images", {**pull, "pull": "never", "platforms": ["linux/riscv64"]})
    assert caught.value.status == 404

    names = [f"{registry.address}/states/copy:{tag}" for tag in "ab"]
    assert verbs(settled(agent, f"{one}/tags", {"references": names})) == ["tag", "tag"]
    agent.put("/v1/default/images", {"reference": names[0], "state": "absent"})
    assert verbs(settled(agent, f"{one}/tags", {"references": names})) == ["tag"]

    pushed = settled(agent, f"{one}/push", {"reference": names[0], "plain_http": True})
    assert (verbs(pushed), pushed["before"]) == (["push"], {})
    part = {"reference": names[0], "plain_http": True, "platform": "linux/arm64"}
    other = settled(agent, f"{one}/push", part)
    assert other["before"] == pushed["after"]
    assert other["after"]["digest"] != pushed["after"]["digest"]

    # a name of another image is moved on demand only
    agent.put("/v1/default/images", {"reference": names[0], "plain_http": True, "pull": "always",
                                     "platform": "linux/arm64", "unpack": False})  # fmt: skip
    with pytest.raises(ApiError) as caught:
        agent.put(f"{one}/tags", {"references": names})
    assert caught.value.problem["code"] == "AlreadyExists"
    assert verbs(settled(agent, f"{one}/tags", {"references": names, "force": True})) == ["tag"]

    path = tmp_path / "two.tar"
    export = {"path": str(path), "images": [image], "all_platforms": True}
    exported = settled(agent, "/v1/default/archive/export", export)
    assert exported["after"]["size"] == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    settled(agent, "/v1/default/archive/export", {**export, "all_platforms": False})
    assert path.stat().st_size < exported["after"]["size"]
    assert [each.name for each in tmp_path.iterdir()] == ["two.tar"]
    with pytest.raises(ApiError) as caught:
        agent.put("/v1/default/archive/export", {**export, "path": "/nowhere/at/all.tar"})
    assert caught.value.problem["field"] == "path"


def test_the_content_of_an_image_for_other_machines_is_brought_once(
    agent: Daemon, registry: Registry, tmp_path: Path
) -> None:
    made = ImageLayout(tmp_path / "layout")
    layer = LayerBuilder().file("etc/name", "elsewhere").layer("gzip")
    made.tag("far", made.add_index([made.add_image([layer], {}, platform="linux/riscv64")]))
    wanted: dict[str, Any] = {
        "reference": registry.push(made, "far", "states/far:1"), "plain_http": True, "all_platforms": True,
        "unpack": False,
    }  # fmt: skip
    assert verbs(settled(agent, "/v1/default/images", wanted)) == ["pull"]
    for when in ("always", "never"):
        assert agent.put("/v1/default/images", {**wanted, "pull": when})["changed"] is False
    assert verbs(settled(agent, "/v1/default/images", {**wanted, "labels": {"a": "b"}})) == ["update"]
    with pytest.raises(ApiError, match="linux/riscv64"):
        agent.put("/v1/default/images", {**wanted, "unpack": True})
    agent.put("/v1/default/images", {**wanted, "state": "absent"})
    agent.post("/v1/gc")
    assert verbs(settled(agent, "/v1/default/images", wanted)) == ["pull"]


@pytest.mark.parametrize("form", ["layout", "gzip", "docker"])
def test_an_archive_is_brought_in_once(agent: Daemon, image: str, tmp_path: Path, form: str) -> None:
    agent.put("/v1/default/images", {"reference": image, "plain_http": True})
    path = tmp_path / "in.tar"
    agent.put("/v1/default/archive/export", {"path": str(path), "images": [image]})
    if form == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    if form == "docker":
        _leave_to_docker(path)
    done = settled(agent, f"/v1/in-{form}/archive/import", {"path": str(path)})
    assert list(done["after"]["images"]) == [image]
    assert done["before"] == {"images": {}}
    agent.put(f"/v1/in-{form}/images", {"reference": image, "state": "absent"})
    assert verbs(agent.put(f"/v1/in-{form}/archive/import", {"path": str(path)})) == ["import"]
    with pytest.raises(ApiError) as caught:
        agent.put("/v1/default/archive/import", {"path": str(tmp_path / "none.tar")})
    assert caught.value.status == 404


@pytest.mark.parametrize("kind", ["pipe", "directory", "relative", "text", "endless"])
def test_what_is_no_archive(agent: Daemon, tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "file")
    if kind == "pipe":
        os.mkfifo(path)  # nobody is at its other end
    elif kind == "text":
        Path(path).write_text("no archive")
    path = {"directory": str(tmp_path), "relative": "in.tar", "endless": "/dev/zero"}.get(kind, path)
    with pytest.raises(ApiError) as caught:
        agent.put("/v1/default/archive/import", {"path": path})
    assert caught.value.problem["code"] == "InvalidArgument"


def _leave_to_docker(path: Path) -> None:
    """Leave the part of an archive that Docker reads."""
    made = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=made, mode="w") as new:
        for member in old:
            if member.name not in {"index.json", "oci-layout"}:
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
    path.write_bytes(made.getvalue())


def test_a_lease(agent: Daemon) -> None:
    path = "/v1/leases/leases/keep"
    held = [{"type": "images", "id": "docker.io/library/a:1"}]
    made = settled(agent, path, {"labels": {"team": "web"}, "expire_seconds": 0, "resources": held})
    assert made["after"] == {"id": "keep", "labels": {"team": "web"}, "resources": held}
    assert settled(agent, path, {"labels": {"tier": "one"}})["after"]["labels"] == {
        "team": "web",
        "tier": "one",
    }
    assert settled(agent, path, {"resources": []})["after"]["resources"] == []
    renewed = agent.put(path, {"renew": True, "expire_seconds": 60})
    assert "containerd.io/gc.expire" in renewed["after"]["labels"]
    assert settled(agent, path, {"state": "absent"})["after"] == {}
    with pytest.raises(ApiError):
        agent.put(path, {"resources": [{"type": "content", "id": "no-digest"}]})


def test_an_upload_is_watched_by_its_id(agent: Daemon, image: str, tmp_path: Path) -> None:
    path = tmp_path / "out.tar"
    agent.put("/v1/default/images", {"reference": image, "plain_http": True})
    agent.put("/v1/default/archive/export", {"path": str(path), "images": [image]})
    told = agent.cli("-n", "watched", "image", "import", str(path))
    assert told.returncode == 0, told.stderr
    assert "layer" in told.stderr

    lines: list[Any] = []
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(agent, "upload-by-me", lines, over))
    watcher.start()
    connection = UnixConnection(agent.socket_path, 60)
    try:
        data = path.read_bytes()
        target = f"/v1/again/archive?operation=upload-by-me&size={len(data)}"
        connection.request("POST", target, data, {"Content-Type": "application/octet-stream"})
        assert connection.getresponse().status == 200
        watcher.join(60)
    finally:
        connection.close()
        over.set()
        watcher.join(30)
    assert lines[-1]["phase"] == "commit"
    objects = {each["digest"]: each for line in lines for each in line["objects"]}
    assert {each["phase"] for each in objects.values()} <= {"done", "skipped"}
    assert {each["kind"] for each in objects.values()} >= {"layer", "manifest", "config"}
    view = agent.get("/v1/again/operations/upload-by-me")
    assert (view["kind"], view["state"]) == ("import", "done")


def _watch(agent: Daemon, operation: str, lines: list[Any], over: threading.Event) -> None:
    while not over.is_set():
        status, _, body = agent.exchange("GET", f"/v1/again/operations/{operation}/progress")
        if status == 200:
            lines.extend(json.loads(line) for line in body.splitlines())
            return
        over.wait(0.02)
