"""Root file systems that would lead a runtime to the node's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tricorn.errors import FailedPrecondition
from tricorn.runtime.root_checks import barred_way, require_plain_root

MOUNTS: list[dict[str, Any]] = [{"destination": f"/{name}"} for name in ("proc", "dev", "dev/pts", "sys")]


def config(mounts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"root": {"path": "rootfs"}, "mounts": mounts}


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    for name in ("dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    return root


def test_directories_and_what_isnt_there_pass(rootfs: Path) -> None:
    require_plain_root(str(rootfs.parent), config(MOUNTS))
    for name in ("dev", "proc", "sys"):
        (rootfs / name).rmdir()
    require_plain_root(str(rootfs.parent), config(MOUNTS))
    require_plain_root(str(rootfs.parent), {"root": {"path": str(rootfs)}})


@pytest.mark.parametrize("target", ["/etc", "../../../etc", "usr/dev", "nowhere"])
@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_links_are_refused_wherever_they_lead(rootfs: Path, name: str, target: str) -> None:
    (rootfs / name).rmdir()
    (rootfs / name).symlink_to(target)
    with pytest.raises(FailedPrecondition, match=f"/{name} in it is a symbolic link"):
        require_plain_root(str(rootfs.parent), config(MOUNTS))


def test_devices_are_looked_at_where_nothing_covers_them(rootfs: Path) -> None:
    (rootfs / "dev/console").symlink_to("/etc/shadow")
    (rootfs / "proc").rmdir()
    (rootfs / "proc").symlink_to("/etc")  # nothing is mounted there
    with pytest.raises(FailedPrecondition, match="/dev/console in it"):
        require_plain_root(str(rootfs.parent), config([]))
    (rootfs / "dev/console").unlink()
    require_plain_root(str(rootfs.parent), config([]))


@pytest.mark.root
def test_a_directory_that_lets_nobody_pass_is_named(tmp_path: Path) -> None:
    bundle = tmp_path / "closed/bundles/web"
    bundle.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    (bundle / "config.json").write_text("{}")
    assert barred_way(str(bundle)) == ""
    (bundle / "config.json").write_text('{"linux": {"uidMappings": []}}')
    assert str(tmp_path / "closed ") in barred_way(str(bundle))
    (tmp_path / "closed").chmod(0o711)
    assert str(tmp_path / "closed ") not in barred_way(str(bundle))
    assert barred_way(str(tmp_path / "nowhere")) == ""
