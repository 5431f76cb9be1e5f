#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apply
short_description: Bring a whole Tricorn node to its desired state
version_added: 0.1.0
description:
  - Makes sure that networks, namespaces, images and containers of a node are as described, in one call.
  - The agent plans the whole, then does what it takes in order, several things at a time. Networks and namespaces come
    first, then images, then containers that go, then those that start, each after what its label C(tricorn.io/after)
    names.
  - When something fails the task fails; what was done stays, and the next run goes on from there.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  namespaces:
    description:
      - What namespaces shall hold. Images and labels that are not named stay.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the namespace.
        type: str
        required: true
      labels:
        description:
          - Labels that it shall have, too.
        type: dict
      images:
        description:
          - Images, each described by the options of M(tricorn.containerd.image).
        type: list
        elements: dict
      containers:
        description:
          - Containers, each described by the options of M(tricorn.containerd.container). The state V(restarted) and the
            option O(tricorn.containerd.container#module:force) are for tasks of their own.
        type: list
        elements: dict
      prune:
        description:
          - Remove containers that are not named, stopping them first.
        type: bool
        default: false
  networks:
    description:
      - Networks, each described by the options of M(tricorn.containerd.network).
    type: list
    elements: dict
  parallel:
    description:
      - How many things are done at a time.
    type: int
    default: 4
notes:
  - Takes the role C(admin) on the node.
seealso:
  - module: tricorn.containerd.container
  - module: tricorn.containerd.image
  - module: tricorn.containerd.network
"""

EXAMPLES = r"""
- name: Run the shop
  tricorn.containerd.apply:
    namespaces:
      - name: shop
        prune: true
        images:
          - name: "{{ image }}"
            plain_http: true
        containers:
          - name: cache
            image: "{{ image }}"
            pull: never
            command: sleep 600
            stop_timeout: 1
            resources:
              memory: 64m
          - name: web
            image: "{{ image }}"
            pull: never
            command: sleep 600
            stop_timeout: 1
            labels:
              tricorn.io/after: cache
"""

RETURN = r"""
changes:
  description: What was changed, as it is now or would be, by kind and by namespace and name.
  returned: success
  type: dict
  sample:
    containers:
      shop/web:
        id: web
        status: running
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: create
      object: shop/container/web
      reason: no such container
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: NotFound
    status: 404
    detail: container web does not exist in namespace default
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("apply")


if __name__ == "__main__":
    main()
