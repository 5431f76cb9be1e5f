#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lease
short_description: Manage leases of a Tricorn node
version_added: 0.1.0
description:
  - A lease keeps what it holds from garbage collection, whether or not anything else needs it, until it is
    removed or expires.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
attributes:
  idempotent:
    description: A second run with the same options changes nothing.
    support: partial
    details:
      - With O(renew) every run sets the expiry anew.
options:
  name:
    description:
      - Name of the lease.
    type: str
    required: true
    aliases: [id]
  state:
    description:
      - V(present) makes sure that the lease is there, V(absent) that it is not.
    type: str
    choices: [present, absent]
    default: present
  labels:
    description:
      - Labels of the lease. Others that it has stay.
    type: dict
  expires_in:
    description:
      - Seconds that a new lease lasts; V(0) means until it is removed. 24 hours when left out.
      - A lease that is there keeps its expiry unless O(renew) is set.
    type: float
  renew:
    description:
      - Let the lease last O(expires_in) from now.
    type: bool
    default: false
  resources:
    description:
      - What the lease holds, and nothing else. Left out, it goes on to hold what it does.
      - Things need not be there yet.
    type: list
    elements: dict
    suboptions:
      type:
        description:
          - One of V(content), V(images), V(ingests), or V(snapshots/) followed by a snapshotter.
        type: str
        required: true
      id:
        description:
          - Digest, name or key of the thing.
        type: str
        required: true
seealso:
  - module: tricorn.containerd.lease_info
  - module: tricorn.containerd.gc
"""

EXAMPLES = r"""
- name: Keep an image that will be needed in the night
  tricorn.containerd.lease:
    name: nightly
    expires_in: 86400
    resources:
      - type: images
        id: docker.io/library/redis:7

- name: Let it go
  tricorn.containerd.lease:
    name: nightly
    state: absent
"""

RETURN = r"""
lease:
  description: The lease as it is now, or would be in check mode; empty when it is absent.
  returned: success
  type: dict
  sample:
    id: nightly
    labels:
      containerd.io/gc.expire: "2026-11-02T12:00:00+00:00"
    resources:
      - type: images
        id: docker.io/library/redis:7
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: create
      object: lease/nightly
      reason: no such lease
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: InvalidArgument
    status: 400
    detail: lease resource type 'image' is unknown
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("lease")


if __name__ == "__main__":
    main()
