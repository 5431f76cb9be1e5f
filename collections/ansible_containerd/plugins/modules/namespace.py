#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: namespace
short_description: Manage namespaces of a Tricorn node
version_added: 0.1.0
description:
  - Makes namespaces with labels, and removes empty ones.
  - Images, containers and the like of one namespace are not seen from another.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  name:
    description:
      - Name of the namespace.
    type: str
    required: true
  state:
    description:
      - V(present) makes sure that the namespace is there, V(absent) that it is not.
      - A namespace that isn't empty is not removed; the task fails and names what is left in it.
    type: str
    choices: [present, absent]
    default: present
  labels:
    description:
      - Labels of the namespace. Others that it has stay.
      - With V(containerd.io/defaults/snapshotter) and V(containerd.io/defaults/runtime) a namespace has defaults
        of its own.
    type: dict
seealso:
  - module: tricorn.containerd.namespace_info
"""

EXAMPLES = r"""
- name: Give a team a namespace of its own
  tricorn.containerd.namespace:
    name: shop
    labels:
      team: web
"""

RETURN = r"""
namespace:
  description: The namespace as it is now, or would be in check mode; empty when it is absent.
  returned: success
  type: dict
  sample:
    name: shop
    labels:
      team: web
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: create
      object: namespace/shop
      reason: ''
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: FailedPrecondition
    status: 412
    detail: namespace shop is not empty
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("namespace")


if __name__ == "__main__":
    main()
