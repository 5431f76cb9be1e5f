"""Configuration lists of CNI, and what plugins are told and say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tricorn.errors import FailedPrecondition, InvalidArgument, Unavailable
from tricorn.model.networks import Port
from tricorn.rules import cni

LIST: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local"}},
        {"type": "portmap", "capabilities": {"portMappings": True, "bandwidth": True}},
    ],
}
PORTS = {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]}


def parsed(**changes: Any) -> cni.ConfigList:
    return cni.parse_list(json.dumps({**LIST, **changes}).encode(), "a.conflist")


def told(config: cni.ConfigList, place: int, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cni.plugin_input(config, config.plugins[place], **more))
    return found


def test_a_list_is_read_and_kept() -> None:
    config = parsed()
    assert (config.name, config.version, len(config.plugins)) == ("pods", "1.0.0", 2)
    assert cni.parse_list(cni.as_document(config), "the record") == config
    assert config.checkable
    assert not config.collectable


def test_versions_decide_what_can_be_asked() -> None:
    assert not parsed(cniVersion="0.3.1").checkable
    assert not parsed(disableCheck=True).checkable
    assert parsed(cniVersion="1.1.0").collectable
    assert not parsed(cniVersion="1.1.0", disableGC=True).collectable
    assert parsed(cniVersions=["0.4.0", "1.1.0", "2.0.0"]).version == "1.1.0"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "../x"}, "name"),
        ({"name": None}, "name"),
        ({"plugins": []}, "plugins"),
        ({"plugins": [{"type": "../../bin/sh"}]}, "plugins[0].type"),
        ({"plugins": ["bridge"]}, "plugins[0].type"),
        ({"cniVersion": "0.2.0"}, "cniVersion"),
        ({"cniVersion": "9.0"}, "cniVersion"),
    ],
)
def test_malformed_lists_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parsed(**changes)
    assert caught.value.field == field


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"a\.conflist is no JSON object"):
        cni.parse_list(b"[]", "a.conflist")


def test_plugins_are_told_what_they_take() -> None:
    config = parsed()
    assert told(config, 0, capabilities=PORTS) == {
        **LIST["plugins"][0],
        "cniVersion": "1.0.0",
        "name": "pods",
    }
    last = told(config, 1, capabilities=PORTS, previous={"ips": []})
    assert (last["runtimeConfig"], last["prevResult"]) == (PORTS, {"ips": []})
    assert "capabilities" not in last
    assert "runtimeConfig" not in told(config, 1, capabilities={"portMappings": []})
    valid = [{"containerID": "a", "ifname": "eth0"}]
    assert told(config, 1, valid=valid)["cni.dev/valid-attachments"] == valid


def test_ports_need_a_plugin() -> None:
    cni.check_ports(parsed(), [Port(80, 8080)])
    with pytest.raises(FailedPrecondition, match="portMappings"):
        cni.check_ports(parsed(plugins=LIST["plugins"][:1]), [Port(80, 8080)])
    assert cni.port_mappings([Port(80, 8080, "udp", "192.0.2.1")]) == [
        {"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "192.0.2.1"}
    ]


def test_results_tell_addresses_and_servers() -> None:
    result = {
        "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}, {"address": "fd00::2/64"}],
        "dns": {"nameservers": ["10.1.0.1"], "search": ["a.example"]},
    }
    assert cni.addresses(result) == ["10.1.0.2/24", "fd00::2/64"]
    assert cni.gateway(result) == "10.1.0.1"
    assert cni.resolver(result) == (("10.1.0.1",), ("a.example",))
    assert (cni.addresses(None), cni.gateway(None), cni.resolver(None)) == ([], "", ((), ()))


def test_failures_name_the_plugin_and_its_words() -> None:
    output = json.dumps({"code": 7, "msg": "no bridge", "details": "cni0"}).encode()
    error = cni.failure("bridge", "pods", "ADD", output, b"", 1)
    assert isinstance(error, FailedPrecondition)
    assert str(error) == "CNI plugin bridge of network pods failed at ADD: no bridge: cni0"
    assert (error.details["plugin"], error.details["plugin_code"]) == ("bridge", 7)
    assert isinstance(cni.failure("dhcp", "pods", "ADD", b'{"code": 11}', b"", 1), Unavailable)
    assert cni.failure("x", "pods", "DEL", b"panic", b"on stderr", 2).why == "on stderr"
    with pytest.raises(FailedPrecondition, match="gave no result"):
        cni.parse_result(b"", "bridge", "pods")
    assert cni.parse_versions(b'{"supportedVersions": ["1.0.0"]}') == ("1.0.0",)
    assert cni.parse_versions(b"usage") == ()
