#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lease_info
short_description: Look up leases of a Tricorn node
version_added: 0.1.0
description:
  - Returns leases of a namespace by name or by filter, with what they hold.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.node.lookup
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
seealso:
  - module: tricorn.containerd.lease
"""

EXAMPLES = r"""
- name: List the leases that end by themselves
  tricorn.containerd.lease_info:
    filters:
      - labels."containerd.io/gc.expire"
"""

RETURN = r"""
exists:
  description: Whether all names exist or, without O(name), whether anything was found.
  returned: success
  type: bool
leases:
  description: The leases.
  returned: success
  type: list
  elements: dict
  sample:
    - id: nightly
      labels:
        containerd.io/gc.expire: "2026-11-02T12:00:00+00:00"
      created_at: "2026-11-01T12:00:00Z"
      resources:
        - type: images
          id: docker.io/library/redis:7
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("lease_info")


if __name__ == "__main__":
    main()
