#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_info
short_description: Look up snapshots on a Tricorn node
version_added: 0.1.0
description:
  - Returns snapshots, which are unpacked layers of images and file systems of containers.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
options:
  snapshotter:
    description:
      - Return snapshots of this snapshotter only.
    type: str
  filters:
    description:
      - Filters in containerd's syntax, such as V(kind==active). Something is returned when any of them matches.
    type: list
    elements: str
seealso:
  - module: tricorn.containerd.container_info
"""

EXAMPLES = r"""
- name: List file systems of containers
  tricorn.containerd.snapshot_info:
    filters:
      - kind==active
  register: writable
"""

RETURN = r"""
exists:
  description: Whether anything was found.
  returned: success
  type: bool
snapshots:
  description: The snapshots.
  returned: success
  type: list
  elements: dict
  sample:
    - snapshotter: overlayfs
      key: cache
      kind: active
      parent: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
      labels: {}
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("snapshot_info")


if __name__ == "__main__":
    main()
