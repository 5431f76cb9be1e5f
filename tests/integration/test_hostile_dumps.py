"""Dumps with images that would have CRIU give the container something of the node's: each is refused, and nothing
of it is left. They are made of a real one, whose images are swapped for others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tricorn.rules import criu_images
from tricorn.rules.varints import field, number_field, required
from tricorn_testing.agentclient import ApiError
from tricorn_testing.criu import SecludedDaemon, checkpointing_daemon
from tricorn_testing.dump_archives import NS, changed, dumped, load, packed, podman

pytestmark = [pytest.mark.root, pytest.mark.integration]
Images = dict[str, bytes]


@pytest.fixture(scope="module")
def agent() -> Iterator[SecludedDaemon]:
    with checkpointing_daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def image(agent: SecludedDaemon, busybox_reference: str) -> str:
    agent.put(f"/v1/{NS}/images", {"reference": busybox_reference, "plain_http": True})
    return busybox_reference


@pytest.fixture(scope="module")
def parts(agent: SecludedDaemon, image: str) -> dict[str, Any]:
    return dumped(agent, image)


def message(fields: Mapping[int, Any]) -> bytes:
    """Return the fields as protobuf has them, even those that are empty or 0: CRIU requires some."""
    out = b""
    for number, values in fields.items():
        for value in values:
            out += number_field(number, value) if isinstance(value, int) else required(number, value)
    return out


def with_inventory(images: Images, change: Callable[[dict[int, Any]], None]) -> Images:
    data = images["inventory.img"]  # has one magic, not two
    size = int.from_bytes(data[4:8], "little")
    fields = dict(criu_images.parse(data[8 : 8 + size], "inventory.img"))
    ids = dict(criu_images.parse(criu_images.bytes_of(fields[3][-1], ""), ""))
    change(ids)
    fields[3] = [message(ids)]
    new = message(fields)
    return {**images, "inventory.img": data[:4] + len(new).to_bytes(4, "little") + new}


def with_mount(images: Images, point: bytes, **changed: Any) -> Images:
    name = next(name for name in images if name.startswith("mountpoints-"))
    out = images[name][:8]
    for fields in criu_images.entries(images[name], "mountpoints", name):
        new = dict(fields)
        if new[7] == [point]:
            new.update({int(key[1:]): [value] for key, value in changed.items()})
        new = message(new)
        out += len(new).to_bytes(4, "little") + new
    return {**images, name: out}


def joined(*kinds: int) -> Callable[[Images, bytes], Images]:
    """CRIU would take the process's namespaces for its own."""

    def change(images: Images, _: bytes) -> Images:
        own = criu_images.only(criu_images.entries(images["ids-1.img"], "ids", ""), "")
        return with_inventory(images, lambda ids: ids.update({kind: own[kind] for kind in kinds}))

    return change


def with_deleted(images: Images, name: bytes, *, opened: bytes = b"/opened") -> Images:
    """The file at standard input was deleted, and is the one that has a link of this name."""
    data = images["files.img"]
    files = [dict(fields) for fields in criu_images.entries(data, "files", "")]
    regular = [(fields, criu_images.message_of(fields, 3, "")) for fields in files if 3 in fields]
    found = next(fields for fields, file in regular if file[6] == [b"/dev/null"])
    root = next(
        fields[2][0]
        for image, mounts in images.items()
        if image.startswith("mountpoints-")
        for fields in criu_images.entries(mounts, "mountpoints", "")
        if fields[7] == [b"/"]
    )

    def file(number: int, path: bytes) -> bytes:
        reg = {**criu_images.message_of(found, 3, ""), 1: [number], 6: [path], 7: [int(root) * 2]}
        reg = {key: value for key, value in sorted(reg.items()) if key <= 7}
        return message({1: [1], 2: [number], 3: [message(reg)]})

    packed = [file(found[2][0], opened) if fields is found else message(fields) for fields in files]
    out = data[:8] + b"".join(len(one).to_bytes(4, "little") + one for one in (*packed, file(9999, name)))
    remap = criu_images.image("remap-fpath", message({1: found[2], 2: [9999], 3: [0]}))
    return {**images, "files.img": out, "remap-fpath.img": remap}


MS_BIND = 0x1000
ATTACKS: dict[str, tuple[Callable[[Images, bytes], Images], str]] = {
    "network": (joined(6), "namespace of networks"),
    "pid": (joined(5), "namespace of process ids"),
    "ipc-uts": (joined(7, 8), "namespace of IPC"),
    "bind-flag": (
        lambda images, victim: with_mount(images, b"/dev/shm", _8=victim, _17=MS_BIND),
        "flags that no mount keeps",
    ),
    "root-up": (
        lambda images, victim: with_mount(images, b"/proc/bus", _6=b"/../../../../../../../../.." + victim),
        "root that leads elsewhere",
    ),
    "root-link": (
        lambda images, victim: with_mount(images, b"/proc/bus", _6=b"/1/root" + victim),
        "root that leads elsewhere",
    ),
    "point-up": (
        lambda images, victim: with_mount(images, b"/dev/shm", _7=b"/dev/../.." + victim),
        "leads elsewhere",
    ),
    "unlink-up": (
        lambda images, victim: with_deleted(images, b"/../../../../../../.." + victim + b"/secret"),
        "leads elsewhere",
    ),
    "unlink": (
        lambda images, victim: with_deleted(images, b"/lnk/secret"),
        "isn't CRIU's own link",
    ),
    "unlink-link": (
        lambda images, victim: with_deleted(images, b"/lnk/link_remap.1"),
        "in 'lnk', which is a link",
    ),
    "iptables": (
        lambda images, victim: {
            **images,
            "iptables-10.img": b"*filter\n-A INPUT -M " + victim + b"/program -j NONE\nCOMMIT\n",
        },
        "rules of a firewall",
    ),
}


@pytest.mark.parametrize("kind", ATTACKS)
def test_a_dump_gets_nothing_of_the_node(
    agent: SecludedDaemon, image: str, parts: dict[str, Any], kind: str
) -> None:
    victim = agent.directory / f"victim-{kind}"
    victim.mkdir()
    for name in ("secret", "link_remap.1"):
        (victim / name).write_text("the node's")
    change, words = ATTACKS[kind]
    images = {name.removeprefix("checkpoint/"): data for name, data in parts["dump"]}
    dump = [(f"checkpoint/{name}", data) for name, data in change(images, bytes(victim)).items()]
    files = packed([*parts["changed"], ("lnk", os.fsencode(victim))], links=["lnk"])
    archive = changed(podman({**parts, "dump": dump}, image), **{"rootfs-diff_tar": files})
    done = load(agent, packed(archive), tag=f"test/{kind}:1")
    assert done.returncode == 0, done.stderr
    with pytest.raises(ApiError, match=words) as caught:
        agent.post(f"/v1/{NS}/checkpoints/restore", {"image": f"test/{kind}:1", "id": kind})
    assert caught.value.status == 403
    assert sorted(path.name for path in victim.iterdir()) == ["link_remap.1", "secret"]
    with pytest.raises(ApiError, match=kind):
        agent.get(f"/v1/{NS}/containers/{kind}")
    assert not list((agent.root / "dumps").glob(f"*{kind}*"))


def test_control_groups_that_lead_to_a_file_of_the_node_are_refused(
    agent: SecludedDaemon, image: str, parts: dict[str, Any]
) -> None:
    """CRIU would make the directory and write to the file, as the node's root."""
    victim = agent.directory / "victim"
    victim.write_text("as it was")
    up = "../" * 20
    limit = field(1, f"{up}{victim}".encode()) + field(2, b"overwritten")
    group = field(1, f"{up}{agent.directory}/made".encode()) + field(3, limit)
    whole = dict(parts["dump"])["checkpoint/cgroup.img"][12:]  # after two magics and a length
    hostile = criu_images.image("cgroup", whole + field(2, field(1, b"pids") + field(2, group)))
    dump = [(name, hostile if name.endswith("/cgroup.img") else data) for name, data in parts["dump"]]
    done = load(agent, packed(podman({**parts, "dump": dump}, image)), tag="test/groups:1")
    assert done.returncode == 0, done.stderr
    with pytest.raises(ApiError, match="control groups") as caught:
        agent.post(f"/v1/{NS}/checkpoints/restore", {"image": "test/groups:1", "id": "groups"})
    assert caught.value.status == 400
    assert victim.read_text() == "as it was"
    assert not (agent.directory / "made").exists()
    with pytest.raises(ApiError, match="groups"):
        agent.get(f"/v1/{NS}/containers/groups")
