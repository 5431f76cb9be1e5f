#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_info
short_description: Look up a Tricorn node
version_added: 0.1.0
description:
  - Returns the agent's version, and what the node is able to do.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
"""

EXAMPLES = r"""
- name: Look the node up
  tricorn.containerd.node_info:
  register: tricorn

- name: Show its runtimes
  ansible.builtin.debug:
    msg: "{{ tricorn.node.runtimes | map(attribute='name') }}"
"""

RETURN = r"""
version:
  description: Versions of the agent, of its API and of its Python.
  returned: success
  type: dict
  sample:
    version: 0.1.0
    api: "1"
    python: 3.11.2
node:
  description: The node's directories, namespaces, runtimes, snapshotters and capabilities.
  returned: success
  type: dict
  sample:
    root: /var/lib/tricorn
    state: /run/tricorn
    namespaces: [default]
    snapshotters: [overlayfs, native]
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("node_info")


if __name__ == "__main__":
    main()
