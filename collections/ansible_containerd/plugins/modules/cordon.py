#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cordon
short_description: Have a Tricorn node take on no new containers
version_added: 0.1.0
description:
  - Cordons a node, or opens it again. A cordoned node refuses new containers, starts, restores, sandboxes and containers
    that other nodes bring, whoever asks; the refusal tells the reason. It stays cordoned over restarts of the agent.
  - What runs there runs on, and restart policies go on to act; execs, stops and migrations to other nodes work.
  - It takes the role C(admin) on the node.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  state:
    description:
      - V(present) makes sure that the node is cordoned, V(absent) that it is not.
    type: str
    choices: [present, absent]
    default: present
  reason:
    description:
      - Why, in one line. Who is refused is told.
    type: str
    default: ""
seealso:
  - module: tricorn.containerd.node_info
  - module: tricorn.containerd.migrate
"""

EXAMPLES = r"""
- name: Take on nothing new
  tricorn.containerd.cordon:
    reason: new disks

- name: Take on containers again
  tricorn.containerd.cordon:
    state: absent
"""

RETURN = r"""
cordon:
  description: Whether the node is cordoned now, or would be in check mode, and why.
  returned: success
  type: dict
  sample:
    cordoned: true
    reason: new disks
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: cordon
      object: node/cordon
      reason: new disks
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: PermissionDenied
    status: 403
    detail: user 1000 may not do this
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("cordon")


if __name__ == "__main__":
    main()
