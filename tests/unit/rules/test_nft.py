"""The table of packet rules."""

from __future__ import annotations

from attrs import evolve

from tricorn.model.networks import Network, Port
from tricorn.rules.nft import remove_text, table_name, table_text

FRONT = Network("front", "10.40.0.0/24", "10.40.0.1", "tbfront")
BACK = evolve(
    FRONT, name="back", subnet="10.41.0.0/24", gateway="10.41.0.1", bridge="tbback", masquerade=False
)


def test_without_networks_there_is_no_table() -> None:
    assert table_text("tricorn", [], []) == remove_text("tricorn")


def test_the_table_is_replaced_as_a_whole() -> None:
    text = table_text("tricorn", [FRONT], [])
    assert text.startswith("table inet tricorn\ndelete table inet tricorn\ntable inet tricorn {\n")
    assert "elements" not in text


def test_ports_lead_to_containers() -> None:
    ports = [("10.40.0.2", Port(80, 8080)), ("10.40.0.3", Port(53, 53, "udp", "192.0.2.1"))]
    text = table_text("tricorn", [FRONT], ports)
    assert "elements = { tcp . 8080 : 10.40.0.2 . 80 }" in text
    assert "elements = { 192.0.2.1 . udp . 53 : 10.40.0.3 . 53 }" in text


DUAL = evolve(FRONT, subnet6="fd40::/64", gateway6="fd40::1")


def test_ports_lead_to_addresses_of_both_families() -> None:
    ports = [
        (address, port)
        for address in ("10.40.0.2", "fd40::2")
        for port in (
            Port(80, 8080), Port(81, 8081, "tcp", "::"), Port(82, 8082, "tcp", "0.0.0.0"),
            Port(83, 8083, "udp", "0:0:0::1"),
        )
    ]  # fmt: skip
    text = table_text("tricorn", [DUAL], ports)
    assert "elements = { tcp . 8080 : 10.40.0.2 . 80, tcp . 8082 : 10.40.0.2 . 82 }" in text
    assert "elements = { tcp . 8080 : fd40::2 . 80, tcp . 8081 : fd40::2 . 81 }" in text
    assert "elements = { ::1 . udp . 8083 : fd40::2 . 83 }" in text
    assert text.count("elements") == 3


def test_ipv6_goes_out_under_the_nodes_address_and_only_where_there_is_some() -> None:
    text = table_text("tricorn", [BACK, DUAL], [])
    assert 'ip6 saddr fd40::/64 oifname != "tbfront" masquerade' in text
    assert 'ip6 saddr ::1 oifname "tbfront" masquerade' in text
    assert "ip6" not in table_text("tricorn", [BACK, FRONT], [])
    six = table_text("tricorn", [evolve(DUAL, subnet="", gateway="", masquerade=False)], [])
    assert "ip saddr" not in six
    assert 'oifname != "tbfront" masquerade' not in six


def test_networks_are_kept_apart_and_go_out_if_they_may() -> None:
    text = table_text("tricorn", [BACK, FRONT], [])
    assert 'iifname "tbback" oifname != "tbback" oifname { "tbback", "tbfront" } drop' in text
    assert 'ip saddr 10.40.0.0/24 oifname != "tbfront" masquerade' in text
    assert 'ip saddr 10.41.0.0/24 oifname != "tbback" masquerade' not in text
    assert 'iifname { "tbback", "tbfront" } ip daddr 127.0.0.0/8 drop' in text  # CVE-2020-8558


def test_agents_have_tables_of_their_own() -> None:
    assert table_name("/var/lib/tricorn") == "tricorn"
    assert table_name("/srv/a") != table_name("/srv/b")
