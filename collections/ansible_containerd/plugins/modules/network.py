#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network
short_description: Manage networks of a Tricorn node
version_added: 0.1.0
description:
  - A network is a bridge of the node with a subnet of its own. Containers that join it get an address there, reach
    each other and what is beyond the node, and can have ports of the node lead to them.
  - The options describe the whole network; one that is left out has its default, but the subnets and gateways, which
    a network keeps.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  name:
    description:
      - Name of the network.
    type: str
    required: true
  state:
    description:
      - V(present) makes sure that the network is there as described, V(absent) that it is not.
      - A network with containers in it can't be removed, nor get another subnet, gateway or MTU, nor get or lose IPv4
        or IPv6.
    type: str
    choices: [present, absent]
    default: present
  subnet:
    description:
      - IPv4 subnet such as V(10.40.0.0/24). A free one of the agent's pool when left out.
    type: str
  gateway:
    description:
      - The node's own address in the subnet. The first one when left out.
    type: str
  ipv4:
    description:
      - Whether the network has IPv4 addresses. A new one has them when left out, an old one stays as it is.
    type: bool
  ipv6:
    description:
      - Whether the network has IPv6 addresses. A new one has them only if O(subnet6) is there when left out, an old one
        stays as it is.
    type: bool
  subnet6:
    description:
      - IPv6 subnet such as V(2001:db8:40::/64). With O(ipv6=true), one of the node's own unique local addresses when
        left out, the same whenever a network of this name is made.
    type: str
  gateway6:
    description:
      - The node's own address in the IPv6 subnet. The first one when left out.
    type: str
  mtu:
    description:
      - Size of the largest packet in bytes. The kernel's default when left out.
    type: int
  masquerade:
    description:
      - Let containers reach what is beyond the node under the node's address. The agent's default is V(true).
    type: bool
  dns:
    description:
      - Addresses of name servers in place of the node's.
    type: list
    elements: str
  namespaces:
    description:
      - Patterns of the namespaces whose containers may join. All when left out.
    type: list
    elements: str
  labels:
    description:
      - Labels of the network.
    type: dict
seealso:
  - module: tricorn.containerd.network_info
  - module: tricorn.containerd.container
"""

EXAMPLES = r"""
- name: Have a network for what faces the world
  tricorn.containerd.network:
    name: front
    subnet: 10.40.0.0/24
    mtu: 1400

- name: Have one with addresses of both families that only the namespaces of a team may use
  tricorn.containerd.network:
    name: build
    ipv6: true
    subnet6: 2001:db8:41::/64
    namespaces:
      - ci-*

- name: Remove it
  tricorn.containerd.network:
    name: build
    state: absent
"""

RETURN = r"""
network:
  description: The network as it is now, or would be in check mode; empty when it is absent.
  returned: success
  type: dict
  sample:
    name: front
    subnet: 10.40.0.0/24
    gateway: 10.40.0.1
    subnet6: ""
    gateway6: ""
    mtu: 1400
    masquerade: true
    dns: []
    namespaces: ["*"]
    labels: {}
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: create
      object: network/front
      reason: no such network
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: Conflict
    status: 409
    detail: "subnet 10.40.0.0/24 is taken: 10.40.0.0/16 is in use"
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("network")


if __name__ == "__main__":
    main()
