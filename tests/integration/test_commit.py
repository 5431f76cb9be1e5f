"""Containers become images: what is in them, who can run and read them, what a crash leaves."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.ctr import Ctr
from tricorn_testing.daemon import Daemon, segment
from tricorn_testing.images import ImageLayout, busybox_image
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.integration, pytest.mark.root]
SCRIPT = (
    "echo made >/etc/made; rm /etc/group; mkdir -p /data/deep; echo x >/data/deep/x; touch /ready; sleep 600"
)


@pytest.fixture(scope="module")
def base(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    layout = ImageLayout(tmp_path_factory.mktemp("commit") / "layout")
    busybox_image(layout, "base", Labels={"base": "1"})
    return registry.push(layout, "base", "commit/base:1")


@pytest.fixture(scope="module")
def agent(ctr_agent: Daemon, base: str) -> Daemon:
    """An agent with the image and a running container `work` that has changed its files."""
    ctr_agent.put("/v1/default/images", {"reference": base, "plain_http": True})
    ctr_agent.put("/v1/default/containers/work", {"image": base, "args": ["sh", "-c", SCRIPT]})
    wait_for(ctr_agent, "work", "/ready")
    return ctr_agent


def wait_for(daemon: Daemon, container: str, file: str) -> None:
    deadline = time.monotonic() + 30
    words = {"args": ["test", "-e", file]}
    while daemon.post(f"/v1/default/containers/{container}/exec", words)["exit_code"]:
        assert time.monotonic() < deadline, f"{file} never appears in {container}"
        time.sleep(0.05)


def run(agent: Daemon, *words: str, status: int = 0, **options: Any) -> str:
    done = agent.cli(*words, **options)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def commit(agent: Daemon, reference: str, **wanted: Any) -> dict[str, Any]:
    made: dict[str, Any] = agent.post(
        "/v1/default/containers/work/commit", {"reference": reference, **wanted}
    )
    return made


def document(agent: Daemon, digest: str) -> dict[str, Any]:
    path = agent.root / "content/blobs" / digest.replace(":", "/")
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def status(agent: Daemon, container: str = "work") -> str:
    found: str = agent.get(f"/v1/default/containers/{container}")["task"]["status"]
    return found


def test_the_result_runs(agent: Daemon) -> None:
    words = ("-a", "me", "-m", "why", "-c", "ENV MODE=test", "-c", 'CMD ["cat", "/etc/made", "/data/deep/x"]')
    name, _, digest = run(agent, "commit", *words, "work", "example.com/made:1").strip().partition("@")
    assert name == "example.com/made:1"
    assert status(agent) == "running"
    assert run(agent, "run", "--rm", "--pull", "never", name) == "made\nx\n"
    assert run(agent, "run", "--rm", "--pull", "never", name, "sh", "-c", "ls /etc; echo $MODE") .splitlines() == [
        "made", "os-release", "passwd", "test"
    ]  # fmt: skip
    config = document(agent, document(agent, digest)["config"]["digest"])
    assert config["config"]["Labels"] == {"base": "1"}
    assert config["author"] == "me"
    assert config["history"][-1]["comment"] == "why"
    assert SCRIPT in config["history"][-1]["created_by"]
    assert agent.get(f"/v1/default/images/{segment(name)}")["unpacked"] is True


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_the_same_files_give_the_same_image(agent: Daemon, compression: str) -> None:
    options = {"compression": compression, "timestamp": "2020-01-01T00:00:00Z", "pause": False}
    first, second = (commit(agent, f"example.com/same:{n}", **options) for n in (1, 2))
    assert first["digest"] == second["digest"]
    layer = document(agent, first["digest"])["layers"][-1]
    assert layer["mediaType"].rpartition("+")[2] == {"none": layer["mediaType"]}.get(compression, compression)
    assert (layer["digest"], layer["size"]) == (first["layer"], first["size"])
    assert (
        document(agent, document(agent, first["digest"])["config"]["digest"])["created"]
        == "2020-01-01T00:00:00Z"
    )


def test_the_epoch_of_the_environment(agent: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    words = ("commit", "work", "example.com/epoch:1")
    printed = {run(agent, *words) for _ in range(2)}
    assert len(printed) == 1
    assert printed == {run(agent, *words, "--timestamp", "1970-01-01T00:00:00Z")}
    assert "is no time" in run(agent, *words, "--timestamp", "yesterday", status=2)


def test_a_container_that_changed_nothing(agent: Daemon, base: str) -> None:
    agent.put("/v1/default/containers/still", {"image": base, "state": "present"})
    made = agent.post(
        "/v1/default/containers/still/commit", {"reference": "example.com/still:1", "changes": ["USER web"]}
    )
    assert made["layer"] == ""
    manifest = document(agent, made["digest"])
    assert len(manifest["layers"]) == 1
    assert document(agent, manifest["config"]["digest"])["history"][-1]["empty_layer"] is True
    assert run(agent, "run", "--rm", "--pull", "never", "example.com/still:1", "id", "-un") == "web\n"
    agent.delete("/v1/default/containers/still")


def test_a_commit_of_a_commit(agent: Daemon) -> None:
    commit(agent, "example.com/first:1", compression="zstd")
    run(
        agent,
        "run",
        "--name",
        "second",
        "--pull",
        "never",
        "example.com/first:1",
        "sh",
        "-c",
        "echo 2 >/etc/two",
    )
    run(agent, "commit", "second", "example.com/second:1")
    run(agent, "rm", "second")
    assert (
        run(agent, "run", "--rm", "--pull", "never", "example.com/second:1", "cat", "/etc/made", "/etc/two")
        == "made\n2\n"
    )
    found = agent.get(f"/v1/default/images/{segment('example.com/second:1')}")
    assert [layer["media_type"].rpartition("+")[2] for layer in found["layers"]] == ["gzip", "zstd", "gzip"]


def test_what_cannot_be_committed(agent: Daemon) -> None:
    assert "does not exist" in run(agent, "commit", "nobody", "x:1", status=4)
    assert "no instruction" in run(agent, "commit", "-c", "RUN x", "work", "x:1", status=2)
    assert "malformed" in run(agent, "commit", "work", "x:1/Y", status=2)
    assert status(agent) == "running"
    assert [
        lease for lease in agent.get("/v1/default/leases")["items"] if lease["id"].startswith("commit")
    ] == []


def test_the_image_may_have_another_name_by_now_but_not_be_gone(agent: Daemon, base: str) -> None:
    run(agent, "image", "tag", base, "example.com/other:1")
    names = [item["name"] for item in agent.get("/v1/default/images")["items"]]
    run(agent, "image", "rm", base)
    commit(agent, "example.com/renamed:1")
    run(agent, "image", "rm", "--sync", *[name for name in [*names, "example.com/renamed:1"] if name != base])
    assert "not here any more" in run(agent, "commit", "work", "example.com/gone:1", status=8)
    agent.put("/v1/default/images", {"reference": base, "plain_http": True})
    commit(agent, "example.com/back:1")


def test_skopeo_reads_it_and_ctr_runs_it(agent: Daemon, ctr: Ctr, registry: Registry) -> None:
    made = commit(agent, "example.com/moves:1", compression="zstd" if ctr.version == "2.1" else "gzip")
    target = f"{registry.address}/commit/moved:{ctr.version}"
    run(agent, "image", "push", "--plain-http", "example.com/moves:1", target)
    assert registry.digest(f"commit/moved:{ctr.version}") == made["digest"]
    inspect = ["skopeo", "inspect", "--tls-verify=false", "--config", f"docker://{target}"]
    shown = json.loads(subprocess.run(inspect, check=True, capture_output=True, timeout=60).stdout)
    assert len(shown["rootfs"]["diff_ids"]) == 2
    ctr.run("images", "pull", "--plain-http", *(["--local"] if ctr.version == "2.1" else []), target)
    assert ctr.run("run", "--rm", target, "made", "cat", "/etc/made").stdout == "made\n"
    ctr.run("images", "rm", target)


def test_a_crash_leaves_the_container_running(agent: Daemon) -> None:
    """SIGKILL while the container is held still: the next start lets it go on."""
    agent.kill()
    agent.start(TRICORN_FAILPOINTS="commit.paused=kill")
    agent.cli("commit", "work", "example.com/crash:1")
    agent.wait_exit()
    agent.start()
    assert status(agent) == "running"
    wait_for(agent, "work", "/ready")
    names = {item["name"] for item in agent.get("/v1/default/images")["items"]}
    assert "example.com/crash:1" not in names
    run(agent, "commit", "work", "example.com/crash:1")
    assert run(agent, "run", "--rm", "--pull", "never", "example.com/crash:1", "cat", "/etc/made") == "made\n"


def test_the_layer_alone(agent: Daemon, tmp_path: Path) -> None:
    """A snapshot's changes taken away as a tar; the same each time; nothing of it stays."""
    run(agent, "create", "--name", "taken", "--pull", "never", "example.com/crash:1")
    path = tmp_path / "layer.tar"
    for options, expected in (
        (("--compression", "none", "work"), {"data/deep/x", "etc/made", "etc/.wh.group"}),
        (("--compression", "none", "taken"), set()),
        (("work", ""), {"data/deep/x", "etc/made", "bin/busybox"}),
        (("--compression", "zstd", "taken", ""), None),
    ):
        run(agent, "snapshot", "diff", "--timestamp", "0", "-o", str(path), *options)
        first = path.read_bytes()
        run(agent, "snapshot", "diff", "--timestamp", "0", "-o", str(path), *options)
        assert path.read_bytes() == first
        if expected is not None:
            with tarfile.open(path) as tar:
                assert expected <= set(tar.getnames())
                assert expected or not tar.getnames()
    assert "not committed" in run(agent, "snapshot", "diff", "work", "taken", status=2)
    assert "does not exist" in run(agent, "snapshot", "diff", "nothing", status=4)
    digest = f"sha256:{hashlib.sha256(first).hexdigest()}"
    agent.delete("/v1/default/containers/taken")
    agent.post("/v1/gc", {})
    assert digest not in {item["digest"] for item in agent.get("/v1/default/content")["items"]}
