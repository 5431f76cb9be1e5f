#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: checkpoint
short_description: Make an image of a running container on a Tricorn node, its memory included
version_added: 0.1.0
description:
  - Makes sure that there is a checkpoint of a container under a name. It is an image, to be pushed, exported and
    restored anywhere.
  - It holds what the processes had in memory, passwords included.
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
    support: partial
    details:
      - With O(force) every run makes a checkpoint.
options:
  container:
    description:
      - Name of the container.
    type: str
    required: true
    aliases: [name]
  image:
    description:
      - Name of the image to make.
    type: str
    required: true
  force:
    description:
      - Make it anew if there is an image of that name. Without it an image that is there is left alone, whatever
        it holds.
    type: bool
    default: false
  leave_running:
    description:
      - Let the container go on. Otherwise it is stopped once the image is there.
    type: bool
    default: false
  base:
    description:
      - Add the image that the container was made from, so that both travel together.
    type: bool
    default: true
  rw:
    description:
      - Add what the container changed in its file system.
    type: bool
    default: true
  tcp_established:
    description:
      - Dump open TCP connections.
    type: bool
    default: false
  file_locks:
    description:
      - Dump file locks.
    type: bool
    default: true
requirements:
  - CRIU on the node, see the variable C(agent_criu) of the role P(tricorn.containerd.agent#role).
seealso:
  - module: tricorn.containerd.restore
  - module: tricorn.containerd.image_push
"""

EXAMPLES = r"""
- name: Keep the state of a worker
  tricorn.containerd.checkpoint:
    container: worker
    image: registry.example.org/state/worker:before-upgrade
    leave_running: true
"""

RETURN = r"""
checkpoint:
  description:
    - The image and its digest. After a checkpoint was made also its size in bytes, what it consists of, and for how
      many milliseconds the container stood still.
  returned: success
  type: dict
  sample:
    image: registry.example.org/state/worker:before-upgrade
    digest: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
    container: worker
    size: 1187328
    frozen_ms: 231
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: checkpoint
      object: container/worker
      reason: asked for
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
    run("checkpoint")


if __name__ == "__main__":
    main()
