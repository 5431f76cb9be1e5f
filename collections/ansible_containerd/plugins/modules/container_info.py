#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_info
short_description: Look up containers on a Tricorn node
version_added: 0.1.0
description:
  - Returns containers of a namespace by name or by filter, running or not.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.node.lookup
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
seealso:
  - module: tricorn.containerd.container
"""

EXAMPLES = r"""
- name: Look one container up
  tricorn.containerd.container_info:
    name: cache
  register: cache

- name: Stop when it does not run
  ansible.builtin.assert:
    that:
      - cache.exists
      - cache.containers[0].task.status == 'running'

- name: List what belongs to an application
  tricorn.containerd.container_info:
    filters:
      - labels.app==shop
"""

RETURN = r"""
exists:
  description: Whether all names exist or, without O(name), whether anything was found.
  returned: success
  type: bool
containers:
  description: The containers. Looked up by name they come with their runtime specification and network.
  returned: success
  type: list
  elements: dict
  sample:
    - id: cache
      namespace: default
      image: docker.io/library/redis:7
      labels: {}
      task:
        status: running
        pid: 4711
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("container_info")


if __name__ == "__main__":
    main()
