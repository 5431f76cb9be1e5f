"""What holds a sandbox, and what its containers share."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tricorn.errors import InvalidArgument
from tricorn.rules.sandbox_spec import holder_spec, joined_spec, limits_of, shared_namespaces


def held(spec: Any = None, netns: str = "") -> dict[str, Any]:
    data = b"" if spec is None else json.dumps(spec).encode()
    made = holder_spec(data, netns=netns, cgroup="/t/n/pod", rootfs="/b/rootfs", annotations={"a": "b"})
    return dict(json.loads(made))


def test_without_a_spec_it_has_namespaces_of_its_own():
    made = held()
    kinds = [item["type"] for item in made["linux"]["namespaces"]]
    assert sorted(kinds) == ["ipc", "mount", "network", "pid", "uts"]
    assert all("path" not in item for item in made["linux"]["namespaces"])
    assert made["linux"]["cgroupsPath"] == "/t/n/pod"
    assert made["process"]["args"] == ["/pause"]
    assert made["process"]["capabilities"] == {}
    assert made["root"] == {"path": "/b/rootfs", "readonly": True}
    assert made["annotations"] == {"a": "b"}


def test_it_takes_of_a_spec_what_is_about_the_sandbox():
    made = held({
        "hostname": "web", "process": {"args": ["sh"]}, "mounts": [{"destination": "/x"}],
        "linux": {
            "namespaces": [{"type": "network", "path": "/run/ns/a"}, {"type": "mount"}, {"type": "uts"}],
            "sysctl": {"net.ipv4.ip_forward": "1"}, "cgroupsPath": "pods/web", "resources": {"pids": {"limit": 9}},
        },
    })  # fmt: skip
    assert made["hostname"] == "web"
    assert made["process"]["args"] == ["/pause"]
    assert {item["type"]: item.get("path") for item in made["linux"]["namespaces"]} == {
        "mount": None, "pid": None, "network": "/run/ns/a", "uts": None,
    }  # fmt: skip
    assert made["linux"]["sysctl"] == {"net.ipv4.ip_forward": "1"}
    assert made["linux"]["cgroupsPath"] == "/pods/web"
    assert made["linux"]["resources"] == {"pids": {"limit": 9}}


def test_a_network_namespace_given_by_path_is_the_one():
    namespaces = held(netns="/run/netns/cni")["linux"]["namespaces"]
    assert {"type": "network", "path": "/run/netns/cni"} in namespaces
    with pytest.raises(InvalidArgument) as caught:
        held(netns="cni")
    assert caught.value.field == "netns_path"


@pytest.mark.parametrize(
    "spec", [[], "x", {"linux": 7}, {"linux": {"namespaces": [{"type": "magic"}]}}, {"linux": {"namespaces": [7]}}]
)  # fmt: skip
def test_what_is_no_spec_is_refused(spec: Any):
    with pytest.raises(InvalidArgument):
        held(spec)


def test_a_user_namespace_comes_with_its_mappings():
    mapping = [{"containerID": 0, "hostID": 100_000, "size": 10}]
    made = held({"linux": {"namespaces": [{"type": "user"}], "uidMappings": mapping, "gidMappings": mapping}})
    assert {"type": "user"} in made["linux"]["namespaces"]
    assert (made["linux"]["uidMappings"], made["linux"]["gidMappings"]) == (mapping, mapping)


def test_containers_share_network_ipc_and_host_name():
    spec = json.dumps(held()).encode()
    shared = shared_namespaces(spec, 7)
    assert shared == {"network": "/proc/7/ns/net", "ipc": "/proc/7/ns/ipc", "uts": "/proc/7/ns/uts"}
    container = {
        "hostname": "mine",
        "linux": {
            "namespaces": [
                {"type": "pid"},
                {"type": "network"},
                {"type": "ipc", "path": "/p"},
                {"type": "uts"},
            ]
        },
    }
    joined = json.loads(joined_spec(json.dumps(container).encode(), shared))
    assert joined["linux"]["namespaces"] == [
        {"type": "pid"}, {"type": "network", "path": "/proc/7/ns/net"}, {"type": "ipc", "path": "/p"},
        {"type": "uts", "path": "/proc/7/ns/uts"},
    ]  # fmt: skip
    assert "hostname" not in joined


def test_a_container_keeps_what_its_sandbox_does_not_have():
    spec = json.dumps(held({"linux": {"namespaces": [{"type": "ipc"}]}})).encode()
    shared = shared_namespaces(spec, 7)
    assert shared == {"ipc": "/proc/7/ns/ipc"}
    container = {"hostname": "mine", "linux": {"namespaces": [{"type": "network"}, {"type": "uts"}]}}
    assert json.loads(joined_spec(json.dumps(container).encode(), shared)) == container


def test_limits():
    assert limits_of(b'{"linux": {"resources": {"cpu": {"shares": 2}}}}') == {"cpu": {"shares": 2}}
    assert limits_of(b"") == {}
