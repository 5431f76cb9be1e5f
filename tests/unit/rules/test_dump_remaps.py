"""Deleted files that are open come back where they were: CRIU makes and removes them by the node's root."""

from __future__ import annotations

import pytest
from attrs import evolve

from tricorn.rules.criu_images import image
from tricorn.rules.dump_mount_images import DumpedMount
from tricorn.rules.dump_remaps import Place, Remaps, remaps_of
from tricorn.rules.varints import field, number_field
from tricorn_testing.recorded_dump import mount_at

LINKED, GHOST, PROCESS = range(3)
ROOT = mount_at("/").id
VOLUME = evolve(mount_at("/"), id=900, point="/data", root="/srv/data", external=True, key="/data")
MOUNTS = (mount_at("/"), mount_at("/dev/shm"), mount_at("/proc"), VOLUME)


def files(*named: tuple[str, int]) -> bytes:
    out = b""
    for index, (path, mount) in enumerate(named, 1):
        reg = number_field(1, index) + field(6, path.encode()) + number_field(7, mount * 2)
        entry = number_field(1, 1) + number_field(2, index) + field(3, reg)
        out += len(entry).to_bytes(4, "little") + entry
    return image("files", b"")[:8] + out


def judged(
    path: str, mount: int = ROOT, kind: int | None = GHOST, link: str = "", mounts: tuple[DumpedMount, ...] = MOUNTS
) -> Remaps:  # fmt: skip
    remap = number_field(1, 1) + number_field(2, 2) + (b"" if kind is None else number_field(3, kind))
    return remaps_of(
        {
            "files.img": files((path, mount), (link or path, mount)),
            "remap-fpath.img": image("remap-fpath", remap),
        },
        mounts,
    )


def test_deleted_files_have_directories_to_look_at() -> None:
    assert judged("/gone") == Remaps()
    assert judged("/var/lib/gone") == Remaps((), (Place("/", "var/lib"),))
    assert judged("/data/a/gone", 900) == Remaps((), (Place("/data", "a"),))
    assert judged("/dev/shm/gone", mount_at("/dev/shm").id) == Remaps()
    assert judged("/proc/1/gone", mount_at("/proc").id, PROCESS) == Remaps()
    assert judged("/a/gone", kind=LINKED, link="/a/link_remap.7") == Remaps((), (Place("/", "a"),))


@pytest.mark.parametrize(
    ("path", "mount"),
    [("/../../etc/x", ROOT), ("//etc", ROOT), ("/a/../x", ROOT), ("x", ROOT), ("", ROOT), ("/x", 12345),
     ("/dev/shm/../x", mount_at("/dev/shm").id), ("/dev/shm/link/x", mount_at("/dev/shm").id),
     ("/x", mount_at("/dev/shm").id), ("/proc/1/root/x", mount_at("/proc").id)],
)  # fmt: skip
@pytest.mark.parametrize("kind", [LINKED, GHOST, None])
def test_others_are_refused(path: str, mount: int, kind: int | None) -> None:
    assert judged(path, mount, kind, link=f"{path}/link_remap.1").wrong


@pytest.mark.parametrize("link", ["/etc/passwd", "/a/link_remap.x", "/../link_remap.1", "/a/link_remap.1/x"])
def test_no_name_but_crius_own_is_removed(link: str) -> None:
    assert judged("/gone", kind=LINKED, link=link).wrong
    assert judged("/gone", kind=None, link=link).wrong


def test_read_only_mounts_stay_so() -> None:
    read_only = evolve(VOLUME, read_only=True)
    assert "read-only" in judged("/data/gone", 900, mounts=(*MOUNTS[:3], read_only)).wrong[0]
    above = evolve(VOLUME, id=901, point="/other", root="/srv", read_only=True)
    assert "read-only" in judged("/data/gone", 900, mounts=(*MOUNTS, above)).wrong[0]
    beside = evolve(above, root="/srv/other")
    assert judged("/data/gone", 900, mounts=(*MOUNTS, beside)) == Remaps()


def test_no_open_file_leads_up() -> None:
    found = remaps_of({"files.img": files(("/a/../../x", ROOT))}, MOUNTS)
    assert "leads elsewhere" in found.wrong[0]
