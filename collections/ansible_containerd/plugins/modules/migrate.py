#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migrate
short_description: Move a running container from a Tricorn node to another
version_added: 0.1.0
description:
  - Makes sure that a container is no longer on this node but on another one, where its processes go on from where they
    were. The two agents talk to each other over mutual TLS; the other one's configuration says what it takes.
  - The module is for the node that the container leaves.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.node.dump
  - tricorn.containerd.attributes
attributes:
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: full
    details:
      - Whether the other node would take the container is not asked.
  diff_mode:
    description: Returns what has changed, or would change in check mode.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
    details:
      - A container that is not on this node, and went to that other node, is where it should be.
options:
  container:
    description:
      - Name of the container.
    type: str
    required: true
    aliases: [name]
  to:
    description:
      - The node to move it to, by its name in the agent's configuration or as C(HOST:PORT) of its door for other nodes.
    type: str
    required: true
  name_there:
    description:
      - The container's name on the other node; by default its own.
    type: str
    default: ''
  keep_image:
    description:
      - Give the image its name on the other node, too, unless something else has it.
    type: bool
    default: false
  keep_address:
    description:
      - Move it only if its address in its network moves along, because the subnet is the same there and the address is
        free. It does then in any case.
    type: bool
    default: false
  tcp_established:
    description:
      - Take open TCP connections along, which needs the container's address to move along, too.
    type: bool
    default: false
  via:
    description:
      - Send the container through this repository of a registry, C(HOST[:PORT]/PATH), in place of straight to the other
        node, which has to allow it. What held its memory is deleted there at the end; where the registry deletes
        nothing, C(report.image) of the result names it.
    type: str
    default: ''
  plain_http:
    description:
      - Talk to that registry without TLS.
    type: bool
    default: false
  file_locks:
    description:
      - Allow file locks.
    type: bool
    default: true
  lazy:
    description:
      - Let it go on at the other node before it has its memory, which it gets page by page while it runs. For large
        containers; the other node needs runc and a kernel with userfaultfd. Should what gives it its memory be killed,
        the container is ended.
    type: bool
    default: false
  rounds:
    description:
      - How many rounds of memory, at most, go over before the container stands still, 0 for none and 16 at most; by
        default what fits its memory. Where the kernel does not tell which memory is written to, and with O(via), none do,
        and C(report.precopy) of the result says why.
    type: int
requirements:
  - CRIU on both nodes, see the variable C(agent_criu) of the role P(tricorn.containerd.agent#role).
seealso:
  - module: tricorn.containerd.checkpoint
  - module: tricorn.containerd.restore
"""

EXAMPLES = r"""
- name: Let the cache go on elsewhere before this node is maintained
  tricorn.containerd.migrate:
    container: cache
    to: node-2

- name: Move a server with its address and its clients' connections
  tricorn.containerd.migrate:
    container: front
    to: node-2
    keep_address: true
    tcp_established: true
"""

RETURN = r"""
migration:
  description: The migration, with what was measured; in check mode what is known before it.
  returned: success
  type: dict
  sample:
    id: 5f0c22d9a1b34e77
    container: cache
    name: cache
    node: node-2
    state: done
    report: {downtime_ms: 612, total_ms: 1904, address_kept: false, image: '', image_stays: ''}
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: migrate
      object: container/cache
      reason: it runs here
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
    run("migrate")


if __name__ == "__main__":
    main()
