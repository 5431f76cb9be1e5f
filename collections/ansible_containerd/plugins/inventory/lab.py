# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: lab
short_description: Nodes of a Tricorn lab
version_added: 0.1.0
author:
  - Tricorn authors (@tricorn)
description:
  - The nodes of a lab and how ssh reaches them, from the one file that describes the lab. The file's name ends in
    C(lab.yml) or C(lab.yaml).
  - The same file makes the machines, either namespaces of the controller (C(make lab) in a checkout of Tricorn) or
    virtual machines (C(vagrant up) there).
  - Nodes are called C(n1), C(n2), … and belong to the group C(nodes), the machine with the registry is called
    C(registry) and belongs to the group C(registries).
  - Each host has RV(ignore:lab_address), and RV(ignore:lab_registry) if there is a registry, with its port.
notes:
  - The first address of the subnet is the controller's, the second the registry's, the eleventh that of C(n1).
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [tricorn.containerd.lab]
  name:
    description: Name of the lab. Its bridge on the controller is called so.
    type: str
    required: true
  subnet:
    description: The lab's network, such as V(10.89.77.0/24).
    type: str
    required: true
  count:
    description:
      - Number of nodes. A lab of namespaces that is up with another number has that.
    type: int
    required: true
    env:
      - name: TRICORN_LAB_COUNT
  registry:
    description: Whether there is a machine with a registry beside the nodes.
    type: bool
    default: true
  registry_port:
    description: Port of the registry, which speaks plain HTTP.
    type: int
    default: 5000
  memory:
    description: Memory of each machine in MiB. Only who makes the machines reads it.
    type: int
    default: 1024
  disk:
    description: Disk of each machine in MiB. Only who makes the machines reads it.
    type: int
    default: 4096
  box:
    description: The virtual machines' system. Only the Vagrantfile reads it.
    type: str
  machines:
    description: Whether the machines are namespaces of the controller, or Vagrant's.
    type: str
    choices: [namespaces, vagrant]
    default: namespaces
    env:
      - name: TRICORN_LAB_MACHINES
  state:
    description: Directory of the lab of namespaces, with its keys. Relative to the file's own.
    type: str
    default: ../.lab/lab
  vagrant:
    description: Directory of Vagrant's machines, with their keys. Relative to the file's own.
    type: str
    default: ../.vagrant
"""

EXAMPLES = r"""
# inventory/lab.yml
plugin: tricorn.containerd.lab
name: tricornlab
subnet: 10.89.77.0/24
count: 5

# Which nodes are canaries
groups:
  canaries: inventory_hostname in ['n1', 'n2']
compose:
  agent_hosts: "[{'host': lab_registry, 'server': 'http://' ~ lab_registry}]"
"""

import glob
import ipaddress
import json
import os

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

REGISTRY_NUMBER = 2
FIRST_NODE = 11


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "tricorn.containerd.lab"

    def verify_file(self, path):
        """Return whether the file is called as a lab's."""
        return super().verify_file(path) and path.endswith(("lab.yml", "lab.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        for name, host in self._hosts(path, cache).items():
            group = self.inventory.add_group(host["group"])
            self.inventory.add_host(name, group=group)
            for key, value in host["variables"].items():
                self.inventory.set_variable(name, key, value)
            self._construct(name)

    def _hosts(self, path, cache):
        """Return the hosts as found now, or as cached when that is wanted, and remember them."""
        key = self.get_cache_key(path)
        wanted = self.get_option("cache")
        if wanted and cache:
            try:
                return self._cache[key]
            except KeyError:
                pass
        hosts = self._look(os.path.dirname(os.path.abspath(path)))
        if wanted:
            self._cache[key] = hosts
        return hosts

    def _look(self, directory):
        vagrant = self.get_option("machines") == "vagrant"
        base = os.path.normpath(os.path.join(directory, self.get_option("vagrant" if vagrant else "state")))
        addresses = self._addresses(self.get_option("count") if vagrant else self._count(base))
        shared = {}
        if self.get_option("registry"):
            shared["lab_registry"] = "%s:%d" % (addresses["registry"], self.get_option("registry_port"))
        reach = _reach_vagrant if vagrant else _reach_namespaces
        return {
            name: {
                "group": "registries" if name == "registry" else "nodes",
                "variables": {"ansible_host": address, "lab_address": address, **shared, **reach(base, name)},
            }
            for name, address in addresses.items()
        }

    def _count(self, state):
        """Return how many nodes the lab was brought up with, else how many the file has."""
        try:
            with open(os.path.join(state, "lab.json"), encoding="utf-8") as file:
                return int(json.load(file)["count"])
        except (OSError, ValueError, KeyError):
            return self.get_option("count")

    def _addresses(self, count):
        try:
            network = ipaddress.IPv4Network(self.get_option("subnet"))
            numbers = {"registry": REGISTRY_NUMBER} if self.get_option("registry") else {}
            numbers.update(("n%d" % (index + 1), FIRST_NODE + index) for index in range(count))
            return {name: str(network[number]) for name, number in numbers.items()}
        except (ValueError, IndexError) as error:
            raise AnsibleParserError("subnet: %s" % error) from error

    def _construct(self, name):
        variables = self.inventory.get_host(name).get_vars()
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        variables = self.inventory.get_host(name).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)


def _reach_namespaces(state, name):
    return {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": os.path.join(state, "id"),
        "ansible_ssh_common_args": _ssh_options(os.path.join(state, "known_hosts"), "yes"),
        # ended with the lab: others may come at the same addresses
        "ansible_control_path_dir": os.path.join(state, "cp"),
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def _reach_vagrant(directory, name):
    keys = glob.glob(os.path.join(glob.escape(directory), "machines", name, "*", "private_key"))
    reach = {
        "ansible_user": "vagrant",
        "ansible_become": True,
        "ansible_ssh_common_args": _ssh_options(os.path.join(directory, "known_hosts"), "accept-new"),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    if keys:
        reach["ansible_ssh_private_key_file"] = keys[0]
    return reach


def _ssh_options(known_hosts, checking):
    options = ("UserKnownHostsFile=%s" % known_hosts, "StrictHostKeyChecking=%s" % checking, "IdentitiesOnly=yes")
    return " ".join("-o %s" % option for option in (*options, "ServerAliveInterval=10"))
