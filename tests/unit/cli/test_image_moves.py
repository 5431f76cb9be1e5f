"""`tricorn image push`, `tag`, `export` and `import`."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tricorn.cli.layout_directory import LayoutDirectory
from tricorn.errors import DataLoss, NotFound, Unauthenticated

RESULT = {"reference": "docker.io/library/redis:7", "digest": "sha256:" + "a" * 64}
IMAGES = {
    "images": [{"name": "docker.io/library/redis:7", "digest": "sha256:" + "b" * 64, "media_type": "x"}]
}
PUSH = "POST /v1/default/images/redis%3A7/push"
ARCHIVE = "/v1/default/archive"


def test_push(agent: Any, tricorn: Any) -> None:
    layer = {"digest": "sha256:" + "c" * 64, "kind": "layer", "phase": "done", "total": 5, "offset": 5}
    line = {"operation": "o", "phase": "push", "objects": [layer]}
    agent.stream(PUSH, {"progress": line}, {"result": RESULT})
    done = tricorn(
        "image", "push", "redis:7", "registry.example/r:1", "--platform", "linux/amd64", "--plain-http"
    )
    assert done.out == f"{RESULT['reference']}@{RESULT['digest']}\n"
    assert "cccccccccccc: done" in done.err
    assert agent.body(PUSH) == {
        "reference": "registry.example/r:1", "platform": "linux/amd64", "plain_http": True,
    }  # fmt: skip


def test_push_under_its_own_name_as_json(agent: Any, tricorn: Any) -> None:
    agent.stream(PUSH, {"result": RESULT})
    assert json.loads(tricorn("--json", "image", "push", "-q", "redis:7").out) == RESULT
    assert agent.body(PUSH) == {}


def test_push_with_a_password(agent: Any, tricorn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.stream(PUSH, {"result": RESULT})
    monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
    tricorn("image", "push", "-q", "redis:7", "-u", "me", "--password-stdin")
    assert agent.body(PUSH)["auth"] == {"username": "me", "password": "secret"}
    assert tricorn("image", "push", "redis:7", "-u", "me").status == 2


def test_push_refused(agent: Any, tricorn: Any) -> None:
    agent.stream(PUSH, {"error": Unauthenticated("who are you").problem()})
    done = tricorn("image", "push", "redis:7")
    assert (done.status, done.out) == (14, "")
    assert "who are you" in done.err


def test_tag(agent: Any, tricorn: Any) -> None:
    line = "POST /v1/default/images/redis%3A7/tag"
    agent.answer(line, {"name": "docker.io/library/a:1", "digest": RESULT["digest"]})
    assert tricorn("image", "tag", "redis:7", "a:1", "b:1").status == 0
    assert [request.body for request in agent.requests] == [{"reference": "a:1"}, {"reference": "b:1"}]


def test_export_to_a_file(agent: Any, tricorn: Any, tmp_path: Path) -> None:
    agent.raw(f"GET {ARCHIVE}?name=redis%3A7&name=alpine&platform=linux%2Farm64", b"tar" * 1000)
    target = tmp_path / "out.tar"
    done = tricorn(
        "--json", "image", "export", "-o", str(target), "-q", "--platform", "linux/arm64", "redis:7", "alpine"
    )
    assert json.loads(done.out) == {"file": str(target), "bytes": 3000}
    assert target.read_bytes() == b"tar" * 1000
    assert [path.name for path in tmp_path.glob("out*")] == ["out.tar"]


def test_an_export_that_fails_leaves_no_file(agent: Any, tricorn: Any, tmp_path: Path) -> None:
    agent.refuse(f"GET {ARCHIVE}?name=x", NotFound("no image x"))
    (tmp_path / "out.tar").write_text("before")
    done = tricorn("image", "export", "-q", "-o", str(tmp_path / "out.tar"), "x")
    assert (done.status, "no image x" in done.err) == (4, True)
    assert (tmp_path / "out.tar").read_text() == "before"
    assert [path.name for path in tmp_path.glob("out*")] == ["out.tar"]


def test_export_excludes(tricorn: Any) -> None:
    assert (
        tricorn("image", "export", "--platform", "linux/amd64", "--all-platforms", "-o", "/x", "y").status
        == 2
    )


def test_import_of_a_file(agent: Any, tricorn: Any, tmp_path: Path) -> None:
    line = f"POST {ARCHIVE}?base_name=a%2Fb&all_platforms=true&compress=true&unpack=false"
    for request in (line, f"POST {ARCHIVE}?base_name=a%2Fb&all_platforms=true&unpack=false&compress=true"):
        agent.answer(request, IMAGES)
    archive = tmp_path / "in.tar"
    archive.write_bytes(b"archive" * 500_000)
    options = ["--base-name", "a/b", "--all-platforms", "--no-unpack", "--compress"]
    done = tricorn("image", "import", "-q", *options, str(archive))
    assert done.out == f"docker.io/library/redis:7@sha256:{'b' * 64}\n"
    assert agent.requests[0].data == archive.read_bytes()


def test_both_ways_show_their_operation(
    agent: Any, tricorn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tricorn.cli.progress.new_identity", lambda: "0123456789abcdef")
    step = {"operation": "0123456789abcdef", "phase": "read", "offset": 7, "total": 7, "objects": []}
    agent.stream("GET /v1/default/operations/0123456789abcdef/progress", step)
    agent.answer(f"POST {ARCHIVE}?operation=0123456789abcdef&size=7", IMAGES)
    agent.raw(f"GET {ARCHIVE}?name=x&operation=0123456789abcdef", b"tar")
    archive = tmp_path / "in.tar"
    archive.write_bytes(b"archive")
    assert tricorn("image", "import", str(archive)).err == "read\n"
    assert tricorn("image", "export", "-o", str(archive), "x").err == "read\n"
    assert archive.read_bytes() == b"tar"


def test_import_as_json(agent: Any, tricorn: Any, tmp_path: Path) -> None:
    agent.answer(f"POST {ARCHIVE}", IMAGES)
    (tmp_path / "in.tar").write_bytes(b"archive")
    assert json.loads(tricorn("--json", "image", "import", "-q", str(tmp_path / "in.tar")).out) == IMAGES


def test_import_refused(agent: Any, tricorn: Any, tmp_path: Path) -> None:
    agent.refuse(f"POST {ARCHIVE}", DataLoss("blob is damaged"))
    (tmp_path / "in.tar").write_bytes(b"archive")
    done = tricorn("image", "import", "-q", str(tmp_path / "in.tar"))
    assert (done.status, "blob is damaged" in done.err) == (13, True)


def test_a_file_that_is_not_there(tricorn: Any, tmp_path: Path) -> None:
    done = tricorn("image", "import", str(tmp_path / "none.tar"))
    assert done.status == 2
    assert "can't be read" in done.err


def layout_of(path: Path) -> Path:
    """Make a layout as umoci does, beside other things."""
    (path / "blobs/sha256").mkdir(parents=True)
    for name in ("oci-layout", "index.json", "notes.txt", "blobs/sha256/aa", "blobs/sha256/bb"):
        (path / name).write_bytes(name.encode() * 300)
    (path / "blobs/sha256/link").symlink_to("/etc/shadow")
    return path


def test_import_of_a_layouts_directory(agent: Any, tricorn: Any, tmp_path: Path) -> None:
    """Nothing but the layout goes, and no link is followed."""
    layout = layout_of(tmp_path / "layout")
    agent.answer(f"POST {ARCHIVE}", IMAGES)
    assert tricorn("image", "import", "-q", str(layout)).status == 0
    data = agent.requests[0].data
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    names = ("oci-layout", "index.json", "blobs/sha256/aa", "blobs/sha256/bb")
    assert found == {name: (layout / name).read_bytes() for name in names}
    assert len(data) == LayoutDirectory(str(layout)).size


def test_a_directory_that_is_no_layout(agent: Any, tricorn: Any, tmp_path: Path) -> None:
    done = tricorn("image", "import", "-q", str(tmp_path))
    assert (done.status, "is no OCI layout" in done.err, agent.requests) == (2, True, [])


def test_a_layout_that_shrinks_meanwhile(tmp_path: Path) -> None:
    layout = layout_of(tmp_path / "layout")
    made = LayoutDirectory(str(layout))
    (layout / "blobs/sha256/bb").write_bytes(b"")
    with pytest.raises(DataLoss):
        list(made.pieces())


def test_an_export_to_nowhere(agent: Any, tricorn: Any, tmp_path: Path) -> None:
    agent.raw(f"GET {ARCHIVE}?name=x", b"tar")
    target = tmp_path / "none/out.tar"
    done = tricorn("image", "export", "-q", "-o", str(target), "x")
    assert (done.status, done.err) == (2, f"tricorn: {target} can't be written: No such file or directory\n")
    full = tricorn("image", "export", "-q", "-o", "/dev/full", "x")
    assert (full.status, "can't be written: No space left" in full.err) == (7, True)


def test_a_name_with_its_digest_is_not_given_another(agent: Any, tricorn: Any) -> None:
    name = f"docker.io/library/redis@{RESULT['digest']}"
    agent.stream(PUSH, {"result": {**RESULT, "reference": name}})
    assert tricorn("image", "push", "-q", "redis:7").out == f"{name}\n"
