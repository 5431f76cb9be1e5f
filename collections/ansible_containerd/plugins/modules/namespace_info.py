#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: namespace_info
short_description: Look up namespaces of a Tricorn node
version_added: 0.1.0
description:
  - Returns namespaces by name or by filter.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.lookup
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
seealso:
  - module: tricorn.containerd.namespace
"""

EXAMPLES = r"""
- name: List the namespaces of a team
  tricorn.containerd.namespace_info:
    filters:
      - labels.team==web
"""

RETURN = r"""
exists:
  description: Whether all names exist or, without O(name), whether anything was found.
  returned: success
  type: bool
namespaces:
  description: The namespaces.
  returned: success
  type: list
  elements: dict
  sample:
    - name: shop
      labels:
        team: web
      created_at: "2026-11-01T12:00:00Z"
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("namespace_info")


if __name__ == "__main__":
    main()
