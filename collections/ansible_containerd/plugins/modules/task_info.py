#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: task_info
short_description: Look at what runs in containers on a Tricorn node
version_added: 0.1.0
description:
  - Returns the tasks of containers, with state, exit code, health and processes. Containers that were never started
    have none.
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
  metrics:
    description:
      - Return the figures of each task's control group, too.
    type: bool
    default: false
seealso:
  - module: tricorn.containerd.task
  - module: tricorn.containerd.metrics_info
"""

EXAMPLES = r"""
- name: Look at a task
  tricorn.containerd.task_info:
    container: web
    metrics: true
  register: web

- name: Stop when it is too large
  ansible.builtin.assert:
    that:
      - web.tasks[0].status == 'running'
      - web.tasks[0].metrics.memory_bytes < 1073741824
"""

RETURN = r"""
exists:
  description: Whether all containers exist or, without O(container), whether any was found.
  returned: success
  type: bool
tasks:
  description:
    - The tasks. The processes, in the node's numbers, are those of now; of a task that has ended there are none.
    - C(exit_code) is 128 and the signal's number for what a signal has ended.
  returned: success
  type: list
  elements: dict
  sample:
    - container: web
      status: running
      pid: 4711
      processes: [4711, 4733]
      exit_code: null
      started_at: "2026-01-31T12:00:00.000000Z"
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("task_info")


if __name__ == "__main__":
    main()
