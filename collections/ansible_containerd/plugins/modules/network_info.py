#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_info
short_description: Look up networks of a Tricorn node
version_added: 0.1.0
description:
  - Returns networks by name or by filter, with the containers in them and their addresses and ports. Those of CNI
    configuration lists are there too; their names begin with V(cni:).
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.lookup
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
seealso:
  - module: tricorn.containerd.network
"""

EXAMPLES = r"""
- name: List the networks that the agent makes itself
  tricorn.containerd.network_info:
    filters:
      - driver==bridge
"""

RETURN = r"""
exists:
  description: Whether all names exist or, without O(name), whether anything was found.
  returned: success
  type: bool
networks:
  description: The networks.
  returned: success
  type: list
  elements: dict
  sample:
    - name: front
      driver: bridge
      subnet: 10.40.0.0/24
      gateway: 10.40.0.1
      subnet6: fd40::/64
      gateway6: fd40::1
      up: true
      containers:
        - namespace: default
          container: site
          addresses: [10.40.0.2/24, "fd40::2/64"]
          ports:
            - host: 8080
              container: 80
              protocol: tcp
              address: ""
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("network_info")


if __name__ == "__main__":
    main()
