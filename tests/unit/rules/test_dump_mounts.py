"""Each mount of a dump is one that the spec grants, and of a form by which CRIU is led nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from tricorn.rules.dump_mount_images import DumpedMount
from tricorn.rules.dump_mounts import mounts
from tricorn_testing.recorded_dump import SPEC, granted, mount_at, recorded

VOLUME = {"destination": "/data", "source": "/srv/data", "type": "bind", "options": ["rbind", "ro"]}


def found(*more: DumpedMount, spec: dict[str, Any] = SPEC, without: str = "") -> list[str]:
    kept = tuple(mount for mount in recorded().mounts if mount.point != without)
    return list(mounts(evolve(recorded(), mounts=(*kept, *more)), spec, []))


def instead(point: str, spec: dict[str, Any] = SPEC, **changed: Any) -> list[str]:
    """Judge the dump with one of its mounts changed."""
    return found(evolve(mount_at(point), **changed), spec=spec, without=point)


def volume(**changed: Any) -> DumpedMount:
    root = mount_at("/")
    return DumpedMount(
        **{
            "id": 900, "parent": root.id, "point": "/data", "root": "/srv/data", "type": 0, "source": "/dev/vda",
            "external": True, "key": "/data", "name": "", "read_only": True, "image": root.image, "device": 259,
            "flags": 1, **changed,
        }
    )  # fmt: skip


def test_what_was_recorded_is_granted() -> None:
    assert found() == []
    assert found(volume(), spec=granted(mounts=[*SPEC["mounts"], VOLUME])) == []


@pytest.mark.parametrize(
    "root", ["/..", "/../../..", "/1/root", "/self/root", "/bus/..", "bus", "//bus", "/irq"]
)
def test_a_part_of_proc_lies_at_its_own_place(root: str) -> None:
    assert "root that leads elsewhere" in instead("/proc/bus", root=root)[0]


@pytest.mark.parametrize("point", ["/dev/shm", "/dev/pts", "/dev/mqueue", "/dev"])
def test_file_systems_are_whole(point: str) -> None:
    assert "root that leads elsewhere" in instead(point, root="/link")[0]


@pytest.mark.parametrize("place", ["/dev/../etc", "//dev/shm", "/dev/./shm", "/dev/shm/", "dev/shm", ""])
def test_places_are_as_the_kernel_tells_them(place: str) -> None:
    moved = evolve(mount_at("/dev/shm"), point=place)
    assert any("leads elsewhere" in one for one in found(moved, without="/dev/shm"))


@pytest.mark.parametrize("changed", [{"kept": 0x1000}, {"flags": 0x1000}, {"kept": 0x2000}, {"kept": 0x20}])
def test_flags_by_which_mount_does_something_else_are_refused(changed: dict[str, int]) -> None:
    """With MS_BIND the source, any directory of the node's, is what is mounted."""
    assert "flags that no mount keeps" in instead("/dev/shm", **changed)[0]


@pytest.mark.parametrize(
    ("point", "changed", "words"),
    [
        ("/proc/keys", {"external": False, "key": "", "type": 16, "name": "ext4"}, "isn't the container's own"),
        ("/proc/keys", {"external": False, "key": "", "read_only": False, "root": "/"}, "isn't masked"),
        ("/proc/keys", {"key": "/data"}, "is that of '/data'"),
        ("/proc/bus", {"type": 5, "root": "/"}, "of another kind"),
        ("/dev/shm", {"type": 16, "name": "ext4", "source": "/dev/vda"}, "isn't the container's own"),
        ("/dev/shm", {"external": True, "key": "/dev/shm"}, "another kind than the spec's tmpfs"),
        ("/dev/shm", {"plugin": True}, "a plugin's"),
        ("/dev/shm", {"deleted": True}, "leads elsewhere"),
        ("/dev/shm", {"flags": 0}, "isn't nosuid"),
        ("/dev/shm", {"master": 7}, "takes part"),
        ("/proc/keys", {"parent": 101}, "lies on another than its place"),
    ],
)  # fmt: skip
def test_what_a_mount_may_not_be(point: str, changed: dict[str, Any], words: str) -> None:
    assert any(words in one for one in instead(point, **changed))


def test_every_mount_at_a_place_is_judged() -> None:
    shm = mount_at("/dev/shm")
    assert found(evolve(shm, id=901, parent=shm.id, device=77)) == []
    assert "flags" in found(evolve(shm, id=901, parent=shm.id, device=77, kept=0x1000))[0]
    assert "same number" in found(evolve(shm, device=77))[0]
    assert "without a root" in found(evolve(mount_at("/"), id=901))[0]


def test_every_mount_namespace_is_judged() -> None:
    bare = [evolve(mount, image="mountpoints-77.img") for mount in recorded().mounts]
    assert found(*bare) == []
    bare = [mount for mount in bare if mount.point != "/proc/keys"]
    both = evolve(recorded(), mounts=(*recorded().mounts, *bare))
    assert list(mounts(both, SPEC, ["/proc/keys"])) == ["/proc/keys isn't masked"]


def test_a_volume_is_what_is_granted_at_its_place() -> None:
    other = {**VOLUME, "destination": "/other", "options": ["rbind"]}
    spec = granted(mounts=[*SPEC["mounts"], VOLUME, other])
    swapped = volume(id=902, point="/other", read_only=False, flags=0)  # what is at /data, to be written to
    assert found(volume(), swapped, spec=spec) == ["the mount at /other is that of '/data'"]
    assert "writable" in found(volume(read_only=False, flags=0), spec=spec)[0]
    # nor is it what CRIU would bind a new file system to, since they say that they are the same
    shared = evolve(mount_at("/dev/shm"), device=259)
    assert "another's, from outside" in found(volume(), shared, spec=spec, without="/dev/shm")[0]


@pytest.mark.parametrize(
    ("options", "granted_"),
    [("", True), ("nsdelegate,memory_recursiveprot", True), ("cpu,cpuacct", True), ("name=systemd", True),
     ("none,name=x,release_agent=/x", False), ("name=x", False)],
)  # fmt: skip
def test_control_groups_get_no_agent(options: str, granted_: bool) -> None:
    """The kernel starts a release agent as the node's root."""
    spec = granted(mounts=[*SPEC["mounts"], {"destination": "/groups", "type": "cgroup", "options": ["ro"]}])
    group = evolve(
        mount_at("/sys"), id=903, parent=mount_at("/").id, point="/groups", type=23, options=options,
        read_only=True,
    )  # fmt: skip
    assert (found(group, spec=spec) == []) is granted_
