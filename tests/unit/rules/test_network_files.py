"""Files of /etc and the network's place in a spec."""

from __future__ import annotations

from tricorn.rules.network_files import has_server, hosts_text, joined, resolver_text

OF_NODE = (
    "# made by somebody\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch example.org\noptions edns0\n"
)


def test_hosts_name_the_container() -> None:
    assert "10.40.0.2\tweb c1\n" in hosts_text(["10.40.0.2"], ("web", "c1"))
    assert "10.40.0.2\tc1\nfd40::2\tc1\n" in hosts_text(["10.40.0.2", "fd40::2"], ("c1",))
    assert "10.40.0.2\tc1\n" in hosts_text(["10.40.0.2"], ("c1", "c1"))


def test_servers_on_the_nodes_loopback_are_left_out() -> None:
    assert resolver_text(OF_NODE) == "nameserver 192.0.2.53\nsearch example.org\noptions edns0\n"
    assert has_server(OF_NODE)
    assert not has_server("nameserver 127.0.0.53\nnameserver ::1\nnameserver\n")
    assert has_server("nameserver fe80::1%eth0")


def test_servers_are_those_that_the_containers_addresses_reach() -> None:
    of_node = "nameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\n"
    four, six = "nameserver 192.0.2.53\n", "nameserver 2001:db8::53\n"
    assert resolver_text(of_node, addresses=["10.40.0.2"]) == four
    assert resolver_text(of_node, addresses=["fd40::2"]) == six
    assert resolver_text(of_node, addresses=["10.40.0.2", "fd40::2"]) == four + six
    assert resolver_text(of_node) == of_node
    assert resolver_text(of_node, ["2001:db8::1"], addresses=["10.40.0.2"]) == "nameserver 2001:db8::1\n"


def test_a_network_has_servers_of_its_own() -> None:
    found = resolver_text(OF_NODE, ["10.0.0.53"], ["a.example", "b.example"])
    assert found == "options edns0\nnameserver 10.0.0.53\nsearch a.example b.example\n"


def test_a_spec_joins_a_namespace_with_its_files() -> None:
    spec = {
        "mounts": [{"destination": "/etc/hosts", "source": "/mine"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}]},
    }
    found = joined(spec, "/run/ns", {"/etc/hosts": "/x/hosts", "/etc/hostname": "/x/hostname"})
    assert found["linux"]["namespaces"] == [{"type": "pid"}, {"type": "network", "path": "/run/ns"}]
    assert [(each["destination"], each["source"]) for each in found["mounts"]] == [
        ("/etc/hosts", "/mine"), ("/etc/hostname", "/x/hostname"),
    ]  # fmt: skip
    assert len(spec["mounts"]) == 1
    whole = {"mounts": [{"destination": "/etc", "source": "/mine"}]}
    assert joined(whole, "/run/ns", {"/etc/hosts": "/x/hosts"})["mounts"] == whole["mounts"]
