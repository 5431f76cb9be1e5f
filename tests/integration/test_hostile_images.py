"""Hostile images through the whole pull: a typed error, nothing half-stored, memory flat, the agent alive."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.images import ImageLayout, Layer, LayerBuilder, busybox_layer
from tricorn_testing.paths import found
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.integration]
MIB = 1024 * 1024


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> Layer:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return Layer.of(buffer.getvalue(), "gzip")


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def bomb() -> Layer:
    """100 MiB of tar that gunzips into itself 1,000 times over: the ratio is deflate's own maximum …"""
    data = io.BytesIO()
    with gzip.GzipFile(fileobj=data, mode="wb", mtime=0) as stream:
        stream.write(b"not a tar at all" * 64)
        for _ in range(100):
            stream.write(bytes(MIB))
    return Layer(tar=b"", blob=data.getvalue(), compression="gzip")


HOSTILE: dict[str, tuple[Callable[[], Layer], str]] = {
    "parent-directory": (lambda: archive((member("../outside"), b"x")), "InvalidArgument"),
    "device-out-of-range": (
        lambda: archive((member("dev/x", tarfile.CHRTYPE, devmajor=0o7777777, devminor=1), b"")), "InvalidArgument",
    ),
    "root-is-a-symlink": (lambda: archive((member(".", tarfile.SYMTYPE, linkname="/etc"), b"")), "InvalidArgument"),
    "hard-link-out": (
        lambda: archive((member("x", tarfile.LNKTYPE, linkname="../../../../etc/passwd"), b"")), "InvalidArgument",
    ),
    "name-of-64-KiB": (lambda: archive((member("n" * 65536), b"x")), ""),
    "truncated": (lambda: Layer.of(LayerBuilder().file("a", b"x" * 5000).tar()[:2000], "gzip"), "InvalidArgument"),
    "whiteout-of-parent": (lambda: archive((member("a/.wh..."), b"")), "InvalidArgument"),
    "bomb": (bomb, ""),
}  # fmt: skip


def leftovers(agent: Daemon, namespace: str) -> dict[str, int]:
    return {
        "images": len(agent.get(f"/v1/{namespace}/images")["items"]),
        "snapshots": len(agent.get(f"/v1/{namespace}/snapshots")["items"]),
        "leases": len(agent.get(f"/v1/{namespace}/leases")["items"]),
        "directories": len(found(agent.root, "snapshots/*/snapshots/*")),
    }


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_layer_is_refused_whole(
    agent: Daemon, registry: Registry, tmp_path: Path, kind: str
) -> None:
    make, code = HOSTILE[kind]
    layout = ImageLayout(tmp_path / "layout")
    layout.tag("x", layout.add_image([LayerBuilder().file("good", "1").layer(), make()]))
    reference = registry.push(layout, "x", f"hostile/{kind.lower()}:1")
    before = leftovers(agent, "hostile"), resident(agent)
    with pytest.raises(ApiError) as caught:
        agent.put("/v1/hostile/images", {"reference": reference, "plain_http": True})
    assert caught.value.problem["code"] in (
        {code} if code else {"InvalidArgument", "ResourceExhausted", "DataLoss"}
    )
    assert leftovers(agent, "hostile") == before[0]
    assert resident(agent) < before[1] + 60 * MIB
    assert not Path(agent.root / "snapshots/outside").exists()
    assert agent.is_ready()
    assert "Traceback" not in agent.log


def resident(agent: Daemon) -> int:
    pages = int(Path(f"/proc/{agent.pid}/statm").read_text().split()[1])
    return pages * 4096


def test_a_layer_that_is_not_what_the_config_says(agent: Daemon, registry: Registry, tmp_path: Path) -> None:
    layout = ImageLayout(tmp_path / "layout")
    honest = LayerBuilder().file("a", "1").layer()
    lying = Layer(tar=LayerBuilder().file("b", "2").tar(), blob=honest.blob, compression="gzip")
    layout.tag("x", layout.add_image([lying]))
    reference = registry.push(layout, "x", "hostile/diffid:1")
    with pytest.raises(ApiError) as caught:
        agent.put("/v1/hostile/images", {"reference": reference, "plain_http": True})
    assert caught.value.problem["code"] == "DataLoss"
    assert "diff id" in caught.value.problem["detail"]


def test_a_fifo_for_passwd_hangs_nobody(agent: Daemon, registry: Registry, tmp_path: Path) -> None:
    layout = ImageLayout(tmp_path / "layout")
    trap = LayerBuilder().whiteout("etc/passwd").layer(), LayerBuilder().fifo("etc/passwd").layer()
    layout.tag("x", layout.add_image([busybox_layer(), *trap], {"User": "web", "Cmd": ["true"]}))
    reference = registry.push(layout, "x", "hostile/fifo:1")
    body = {"image": reference, "plain_http": True}
    with pytest.raises(ApiError) as caught:
        agent.put("/v1/hostile/containers/trapped", body)
    assert caught.value.problem["code"] == "InvalidArgument"
    assert "passwd" in caught.value.problem["detail"]


def test_a_malformed_request_is_one_problem_document(agent: Daemon) -> None:
    for body, field in (({"reference": "a/UPPER"}, "reference"), ({"reference": "a", "bogus": 1}, "bogus")):
        with pytest.raises(ApiError) as caught:
            agent.put("/v1/default/images", body)
        assert caught.value.status == 400
        assert caught.value.problem["field"] == field


def test_a_link_in_the_place_of_dev_reaches_no_file_of_the_node(
    agent: Daemon, registry: Registry, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    layout = ImageLayout(tmp_path / "layout")
    trap = (
        LayerBuilder().whiteout("dev").layer(),
        LayerBuilder().symlink("dev", f"../../../..{outside}").layer(),
    )
    layout.tag("x", layout.add_image([busybox_layer(), *trap], {"Cmd": ["true"]}))
    reference = registry.push(layout, "x", "hostile/dev:1")
    for runtime in ("crun", "runc"):
        with pytest.raises(ApiError, match="/dev in it is a symbolic link") as caught:
            agent.put(
                f"/v1/hostile/containers/{runtime}",
                {"image": reference, "plain_http": True, "runtime": runtime, "state": "started"},
            )
        assert caught.value.problem["code"] == "FailedPrecondition"
    assert not list(outside.iterdir())
