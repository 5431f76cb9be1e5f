"""Files into containers and out of them: running and stopped ones, hostile links, what is the same already."""

from __future__ import annotations

import base64
import http.client
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tricorn_testing.agentclient import UnixConnection
from tricorn_testing.daemon import ApiError, Daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]


@pytest.fixture
def place(agent: Daemon, own_namespace: str, busybox_reference: str) -> Iterator[str]:
    """A running container whose /here is a link to a directory, and /out one that would lead to the node's."""
    path = f"/v1/{own_namespace}/containers/web"
    script = "mkdir -p /data/sub; ln -s /data /here; ln -s ../../../../../../tmp /out; exec sleep 1000"
    agent.put(path, {
        "image": busybox_reference, "plain_http": True, "args": ["sh", "-c", script], "stop_timeout": 0,
    })  # fmt: skip
    agent.post(f"{path}/exec", {"args": ["sh", "-c", "until test -L /out; do :; done"]})
    yield path
    agent.delete(path, force=True)


def shell(agent: Daemon, place: str, script: str) -> str:
    done = agent.post(f"{place}/exec", {"args": ["sh", "-c", script]})
    assert done["exit_code"] == 0, done
    return str(done["stdout"])


def tar_of(*members: tuple[str, bytes | str | None]) -> bytes:
    """Return a tar of files (bytes), directories (None) and symlinks (text)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mode, member.uid = (0o755, 7) if content is None else (0o640, 7)
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            data = content if isinstance(content, bytes) else b""
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def archive(
    agent: Daemon, method: str, place: str, body: bytes | None = None, **query: Any
) -> http.client.HTTPResponse:
    connection = UnixConnection(agent.socket_path, 60)
    connection.request(method, f"{place}/archive?{urlencode(query)}", body)
    answer = connection.getresponse()
    answer.data = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def put(agent: Daemon, place: str, body: bytes, path: str, **query: Any) -> dict[str, Any]:
    answer = archive(agent, "PUT", place, body, path=path, **query)
    return json.loads(answer.data) | {"status": answer.status}  # type: ignore[attr-defined]


def test_an_archive_goes_in_once_and_comes_out(agent: Daemon, place: str) -> None:
    body = tar_of(("top", None), ("top/a", b"alpha"), ("top/link", "/data/top/a"), ("top/empty", b""))
    planned = put(agent, place, body, "/here", plan="true")
    assert planned["changed"] is True
    assert shell(agent, place, "ls -A /data") == "sub\n"
    first = put(agent, place, body, "/here", uid=3)
    assert [(action["verb"], action["object"]) for action in first["actions"]] == [
        ("create", "file//here/top"), ("create", "file//here/top/a"), ("create", "file//here/top/link"),
        ("create", "file//here/top/empty"),
    ]  # fmt: skip
    assert first["after"]["files"]["/here/top/a"] == planned["after"]["files"]["/here/top/a"] | {"uid": 3}
    assert shell(agent, place, "cat /data/top/link; stat -c '%u %a' /data/top/a") == "alpha3 640\n"
    inode = shell(agent, place, "stat -c %i /data/top/a")
    assert put(agent, place, body, "/here", uid=3)["changed"] is False
    changed = put(agent, place, tar_of(("top/a", b"gamma"), ("top/empty", b"")), "/here", uid=3)
    assert [action["verb"] for action in changed["actions"]] == ["replace"]
    assert shell(agent, place, "stat -c %i /data/top/a") != inode
    assert shell(agent, place, "find /data -name '.tricorn*'") == ""

    out = archive(agent, "GET", place, path="/here/top", follow="true")
    with tarfile.open(fileobj=io.BytesIO(out.data)) as members:  # type: ignore[attr-defined]
        names = {member.name: member for member in members}
        assert set(names) == {"top", "top/a", "top/link", "top/empty"}
        assert (names["top/link"].linkname, names["top/a"].uid) == ("/data/top/a", 3)
        file = members.extractfile("top/a")
        assert file is not None
        assert file.read() == b"gamma"


@pytest.mark.parametrize("running", [True, False])
def test_links_lead_nowhere_else_than_in_the_container(
    agent: Daemon, place: str, tmp_path: Path, running: bool
) -> None:
    if not running:
        agent.post(f"{place}/stop", {"timeout": 0})
    put(agent, place, tar_of(("tmp", None)), "/")
    name = tmp_path.name
    assert put(agent, place, tar_of((f"{name}", b"inside")), "/out")["changed"] is True
    assert not (Path("/tmp") / name).exists()
    sneaky = tar_of(("x", "../../../../../../../tmp"), (f"x/{name}2", b"inside"))
    assert put(agent, place, sneaky, "/data")["changed"] is True
    assert not (Path("/tmp") / f"{name}2").exists()
    look = agent.get(f"{place}/files?path=/tmp/{name}2&digest=true")
    assert (look["type"], look["size"], len(look["sha256"])) == ("file", 6, 64)
    assert put(agent, place, tar_of((f"../{name}3", b"x")), "/data")["status"] == 400
    if not running:
        agent.post(f"{place}/start")
        assert shell(agent, place, f"cat /tmp/{name}") == "inside"


def test_desired_files_and_copies_of_the_nodes(agent: Daemon, place: str, tmp_path: Path) -> None:
    wanted = {"path": "/etc/app/conf", "content": "a = 1\n", "mode": 0o600, "parents": True, "show": True}
    with pytest.raises(ApiError, match="no directory"):
        agent.put(f"{place}/files", wanted | {"parents": False})
    assert agent.put(f"{place}/files?plan=true", wanted)["changed"] is True
    made = agent.put(f"{place}/files", wanted)
    facts = made["after"]["files"]["/etc/app/conf"]
    assert (facts["mode"], facts["content"], made["before"]) == ("0600", "a = 1\n", {"files": {}})
    assert agent.put(f"{place}/files", wanted)["changed"] is False
    binary = {"content": base64.b64encode(b"a = 2\n").decode(), "encoding": "base64"}
    other = agent.put(f"{place}/files", wanted | binary)
    assert other["before"]["files"]["/etc/app/conf"]["content"] == "a = 1\n"
    assert agent.put(f"{place}/files", wanted | binary | {"mode": 0o644})["actions"][0]["verb"] == "update"
    with pytest.raises(ApiError, match="is a directory"):
        agent.put(f"{place}/files", wanted | {"path": "/etc/app"})

    source = tmp_path / "site"
    (source / "deep").mkdir(parents=True)
    (source / "deep/page").write_bytes(bytes(300_000))
    (source / "other").hardlink_to(source / "deep/page")
    there = {"path": "/srv", "node_path": str(source)}
    assert agent.put(f"{place}/copy", there)["changed"] is True
    assert agent.put(f"{place}/copy", there)["changed"] is False
    assert shell(agent, place, "stat -c '%s %h' /srv/other") == "300000 2\n"
    back = {"path": "/srv", "node_path": str(tmp_path / "back"), "to": "node"}
    assert agent.put(f"{place}/copy?plan=true", back)["changed"] is True
    assert not (tmp_path / "back").exists()
    assert agent.put(f"{place}/copy", back)["changed"] is True
    assert (tmp_path / "back/deep/page").stat().st_size == 300_000
    assert agent.put(f"{place}/copy", back)["changed"] is False
    with pytest.raises(ApiError, match="there is no /nope"):
        agent.put(f"{place}/copy", back | {"path": "/nope"})


def test_what_cannot_be_had_is_told(agent: Daemon, place: str) -> None:
    assert archive(agent, "GET", place, path="/nope").status == 404
    assert archive(agent, "GET", place, path="relative").status == 400
    assert put(agent, place, b"no tar" * 200, "/data")["status"] == 400
    assert put(agent, place, tar_of(("x", b"")), "/nope")["status"] == 404
    with pytest.raises(ApiError, match="there is no /nope"):
        agent.get(f"{place}/files?path=/nope")


def test_from_the_command_line(agent: Daemon, place: str, own_namespace: str, tmp_path: Path) -> None:
    def tricorn(*words: str, stdin: bytes = b"", status: int = 0) -> str:
        command = [
            sys.executable,
            "-m",
            "tricorn.cli",
            "--socket",
            agent.socket_path,
            "-n",
            own_namespace,
            *words,
        ]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
        assert done.returncode == status, done.stderr
        return (done.stdout if status == 0 else done.stderr).decode()

    site = tmp_path / "site"
    site.mkdir()
    (site / "page").write_text("hello")
    (site / "link").symlink_to("page")
    assert tricorn("cp", "--plan", str(site), "web:/data").splitlines() == [
        "create /data/site", *sorted(f"create /data/site/{name}" for name in ("link", "page")),
    ]  # fmt: skip
    tricorn("cp", str(site), "web:/data")
    tricorn("cp", str(site / "page"), "web:/data/renamed")
    assert tricorn("cp", str(site / "page"), "web:/data/renamed") == ""
    assert shell(agent, place, "cat /data/renamed /data/site/link; stat -c %u /data/site") == "hellohello0\n"
    tricorn("cp", "-", "web:/data", stdin=tar_of(("piped", b"x")))
    tricorn("cp", "web:/data", str(tmp_path / "back"))
    assert (tmp_path / "back/site/link").read_text() == "hello"
    assert (tmp_path / "back/piped").stat().st_mode & 0o777 == 0o640
    assert "there is no /nope" in tricorn("cp", "web:/nope", str(tmp_path / "x"), status=4)
