#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restore
short_description: Let a container go on from a checkpoint on a Tricorn node
version_added: 0.1.0
description:
  - Makes sure that a container exists; where there is none, it is made of a checkpoint, and its processes go on where
    that was taken. A container that is there is left alone.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.node.dump
  - tricorn.containerd.attributes
attributes:
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: full
  diff_mode:
    description: Returns what has changed, or would change in check mode.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
    details:
      - A container of that name that exists is never changed.
options:
  container:
    description:
      - Name of the container.
    type: str
    required: true
    aliases: [name]
  image:
    description:
      - Name of the checkpoint's image, which must be on the node; M(tricorn.containerd.image) brings it with
        O(tricorn.containerd.image#module:unpack=false).
    type: str
    required: true
  options:
    description:
      - What the container shall be like apart from memory and files, in the terms of the agent's HTTP API, such as
        C(env) and C(mounts). Left out, nothing but the image is taken over from the container that was dumped.
    type: dict
  rw:
    description:
      - Restore what the container had changed in its file system.
    type: bool
    default: true
  lazy:
    description:
      - Let it go on before it has its memory, which it gets page by page while it runs. For large containers; needs
        runc and a kernel with userfaultfd. Should what gives it its memory be killed, the container is ended.
    type: bool
    default: false
  tcp_established:
    description:
      - Allow open TCP connections.
    type: bool
    default: false
  file_locks:
    description:
      - Allow file locks.
    type: bool
    default: false
requirements:
  - CRIU on the node, see the variable C(agent_criu) of the role P(tricorn.containerd.agent#role).
seealso:
  - module: tricorn.containerd.checkpoint
  - module: tricorn.containerd.container
"""

EXAMPLES = r"""
- name: Let the worker go on under another name
  tricorn.containerd.restore:
    container: worker-2
    image: registry.example.org/state/worker:before-upgrade
    options:
      labels: {app: shop}
"""

RETURN = r"""
container:
  description: The container, as it is now or would be.
  returned: success
  type: dict
  sample:
    id: worker-2
    image: registry.example.org/shop/worker:1
    status: running
    pid: 4711
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: restore
      object: container/worker-2
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
    run("restore")


if __name__ == "__main__":
    main()
