#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot
short_description: Manage snapshots of a Tricorn node
version_added: 0.1.0
description:
  - A snapshot is a file system. A committed one is a layer that others stand on, an active one can be written to, and a
    view can only be read.
  - Snapshots that nothing refers to go with the next garbage collection, unless O(keep) is set or a lease holds them.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  key:
    description:
      - Name of the snapshot.
    type: str
    required: true
    aliases: [name]
  state:
    description:
      - V(active) makes sure that the snapshot is there and can be written to, V(view) that it is there to be read,
        V(committed) that it is there for others to stand on, V(absent) that it is not there.
      - A snapshot of another kind in its place is an error, and so is the removal of one that others stand on.
    type: str
    choices: [active, view, committed, absent]
    default: active
  snapshotter:
    description:
      - The snapshotter that has it.
    type: str
    default: overlayfs
  parent:
    description:
      - The committed snapshot that a new one stands on. Without it a new one is empty.
      - One that is there must stand on it, if it is given.
    type: str
  source:
    description:
      - With O(state=committed), the active snapshot that becomes this one. Its name is free afterwards.
      - Not looked at when O(key) is there already.
    type: str
  labels:
    description:
      - Labels of the snapshot. Others that it has stay, those with an empty value go.
    type: dict
  keep:
    description:
      - Keep it until it is removed, even if nothing refers to it. Left out, that stays as it is.
    type: bool
  lease:
    description:
      - The lease that holds a new snapshot.
    type: str
seealso:
  - module: tricorn.containerd.snapshot_info
  - module: tricorn.containerd.lease
"""

EXAMPLES = r"""
- name: Have a place to put files in
  tricorn.containerd.snapshot:
    key: site-work
    keep: true
  register: work

- name: Make a layer of it
  tricorn.containerd.snapshot:
    key: site-1
    state: committed
    source: site-work
    keep: true
    labels:
      team: web

- name: Look into it
  tricorn.containerd.snapshot:
    key: site-look
    state: view
    parent: site-1

- name: Be done with looking
  tricorn.containerd.snapshot:
    key: site-look
    state: absent
"""

RETURN = r"""
snapshot:
  description:
    - The snapshot as it is now, or would be in check mode; empty when it is absent.
    - An active one and a view have C(mounts), which lead to its files.
  returned: success
  type: dict
  sample:
    snapshotter: overlayfs
    key: site-look
    kind: view
    parent: site-1
    labels: {}
    mounts:
      - type: bind
        source: /var/lib/tricorn/snapshots/overlayfs/ab12/fs
        options: [ro, rbind]
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: prepare
      object: snapshot/overlayfs/site-work
      reason: no such snapshot
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: FailedPrecondition
    status: 412
    detail: "snapshot site-1 has 1 children: site-look"
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("snapshot")


if __name__ == "__main__":
    main()
