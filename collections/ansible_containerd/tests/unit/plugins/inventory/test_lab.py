# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os

import pytest

from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible.template import Templar

TOPOLOGY = """\
plugin: tricorn.containerd.lab
name: lab
subnet: 10.1.2.0/24
count: 2
state: state
vagrant: machines
"""


@pytest.fixture
def cache(tmp_path):
    """Yield a directory for a cache; ansible-core's caches in files leave their temporary files open."""
    yield tmp_path / "cache"
    for descriptor in os.listdir("/proc/self/fd"):
        path = "/proc/self/fd/" + descriptor
        if os.path.lexists(path) and os.readlink(path).startswith(str(tmp_path)):
            os.close(int(descriptor))


def parse(directory, text=TOPOLOGY, cache=False):
    path = directory / "lab.yml"
    path.write_text(text)
    loader, inventory = DataLoader(), InventoryData()
    plugin = inventory_loader.get("tricorn.containerd.lab")
    assert plugin.verify_file(str(path))
    plugin.templar = Templar(loader)
    plugin.parse(inventory, loader, str(path), cache=cache)
    if plugin.get_option("cache"):
        plugin.update_cache_if_changed()
    inventory.reconcile_inventory()
    return inventory


def variables(inventory, name):
    return inventory.hosts[name].get_vars()


def test_nodes_and_the_registry_have_addresses_and_groups(tmp_path):
    inventory = parse(tmp_path)
    groups = inventory.get_groups_dict()
    assert groups["nodes"] == ["n1", "n2"]
    assert groups["registries"] == ["registry"]
    assert variables(inventory, "n2")["ansible_host"] == "10.1.2.12"
    assert variables(inventory, "registry")["lab_address"] == "10.1.2.2"
    assert variables(inventory, "n1")["lab_registry"] == "10.1.2.2:5000"


def test_ssh_knows_the_labs_keys_and_no_others(tmp_path):
    found = variables(parse(tmp_path), "n1")
    assert found["ansible_user"] == "root"
    assert found["ansible_ssh_private_key_file"] == str(tmp_path / "state/id")
    assert "UserKnownHostsFile=%s" % (tmp_path / "state/known_hosts") in found["ansible_ssh_common_args"]
    assert "StrictHostKeyChecking=yes" in found["ansible_ssh_common_args"]


def test_a_lab_that_is_up_has_its_own_number_of_nodes(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/lab.json").write_text(json.dumps({"count": 4}))
    assert parse(tmp_path).get_groups_dict()["nodes"] == ["n1", "n2", "n3", "n4"]


def test_virtual_machines_have_vagrants_keys(tmp_path):
    key = tmp_path / "machines/machines/n1/libvirt/private_key"
    key.parent.mkdir(parents=True)
    key.touch()
    inventory = parse(tmp_path, TOPOLOGY + "machines: vagrant\n")
    found = variables(inventory, "n1")
    assert (found["ansible_user"], found["ansible_become"]) == ("vagrant", True)
    assert found["ansible_ssh_private_key_file"] == str(key)
    assert "ansible_ssh_private_key_file" not in variables(inventory, "n2")
    assert found["ansible_host"] == "10.1.2.11"


def test_it_is_constructed(tmp_path):
    more = "groups: {canaries: inventory_hostname == 'n1'}\ncompose: {number: lab_address.split('.') | last | int}\n"
    inventory = parse(tmp_path, TOPOLOGY + more + "keyed_groups: [{key: number | string, prefix: host}]\n")
    groups = inventory.get_groups_dict()
    assert groups["canaries"] == ["n1"]
    assert groups["host_12"] == ["n2"]
    assert variables(inventory, "n2")["number"] == 12


def test_it_is_cached_when_wanted(tmp_path, cache):
    text = TOPOLOGY + "cache: true\ncache_plugin: jsonfile\ncache_connection: %s\n" % cache
    parse(tmp_path, text, cache=True)
    (tmp_path / "state").mkdir()
    (tmp_path / "state/lab.json").write_text(json.dumps({"count": 4}))
    assert parse(tmp_path, text, cache=True).get_groups_dict()["nodes"] == ["n1", "n2"]
    assert len(parse(tmp_path, text).get_groups_dict()["nodes"]) == 4  # --flush-cache
    assert len(parse(tmp_path, text, cache=True).get_groups_dict()["nodes"]) == 4


def test_a_lab_without_a_registry(tmp_path):
    inventory = parse(tmp_path, TOPOLOGY + "registry: false\n")
    assert sorted(inventory.hosts) == ["n1", "n2"]
    assert "lab_registry" not in variables(inventory, "n1")


@pytest.mark.parametrize("subnet", ["10.1.2.3/24", "10.1.2.0/30", "nonsense"])
def test_a_wrong_subnet_is_refused(tmp_path, subnet):
    with pytest.raises(AnsibleParserError, match="subnet"):
        parse(tmp_path, TOPOLOGY.replace("10.1.2.0/24", subnet))


def test_other_files_are_left_to_other_plugins(tmp_path):
    path = tmp_path / "hosts.yml"
    path.touch()
    assert not inventory_loader.get("tricorn.containerd.lab").verify_file(str(path))
