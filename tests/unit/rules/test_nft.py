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


def test_networks_are_kept_apart_and_go_out_if_they_may() -> None:
    text = table_text("tricorn", [BACK, FRONT], [])
    assert 'iifname "tbback" oifname != "tbback" oifname { "tbback", "tbfront" } drop' in text
    assert 'ip saddr 10.40.0.0/24 oifname != "tbfront" masquerade' in text
    assert 'ip saddr 10.41.0.0/24 oifname != "tbback" masquerade' not in text
    assert 'iifname { "tbback", "tbfront" } ip daddr 127.0.0.0/8 drop' in text  # CVE-2020-8558


def test_agents_have_tables_of_their_own() -> None:
    assert table_name("/var/lib/tricorn") == "tricorn"
    assert table_name("/srv/a") != table_name("/srv/b")
