#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: metrics_info
short_description: Read figures of containers and of a Tricorn agent
version_added: 0.1.0
description:
  - Returns the figures of running containers' control groups and, if asked for, those of the agent itself.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
options:
  container:
    description:
      - Names of containers; what doesn't exist is missing from the answer, which RV(exists) tells.
      - Mutually exclusive with O(filters). Without both, all containers of the namespace count.
    type: list
    elements: str
    aliases: [name, containers]
  filters:
    description:
      - Filters in containerd's syntax, such as V(labels.app==shop). A container counts when any of them matches.
    type: list
    elements: str
  node:
    description:
      - Return the agent's own figures, too, those that Prometheus scrapes. Takes a right on the node as a whole.
    type: bool
    default: false
seealso:
  - module: tricorn.containerd.task_info
"""

EXAMPLES = r"""
- name: Read the figures of an application
  tricorn.containerd.metrics_info:
    filters:
      - labels.app==shop
    node: true
  register: figures

- name: Show the memory of all of it
  ansible.builtin.debug:
    msg: "{{ figures.containers | map(attribute='metrics.memory_bytes') | sum }}"
"""

RETURN = r"""
exists:
  description: Whether all containers exist or, without O(container), whether any was found.
  returned: success
  type: bool
containers:
  description: The containers that run. What the node cannot tell of one is missing.
  returned: success
  type: list
  elements: dict
  sample:
    - container: web
      metrics:
        cpu_seconds: 1.25
        memory_bytes: 8388608
        pids: 3
node:
  description: The agent's samples.
  returned: with O(node=true)
  type: list
  elements: dict
  sample:
    - name: tricorn_containers
      labels: {state: running}
      value: 4
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("metrics_info")


if __name__ == "__main__":
    main()
