#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gc
short_description: Collect what nothing needs on a Tricorn node
version_added: 0.1.0
description:
  - Removes content and snapshots that no image, container or lease needs, in all namespaces, and returns what
    went.
  - The agent does so by itself from time to time. This is for those who want the space now, or want to know.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.attributes
attributes:
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: full
    details:
      - Returns what would go.
  diff_mode:
    description: Returns what has changed, or would change in check mode.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
seealso:
  - module: tricorn.containerd.lease
  - module: tricorn.containerd.content_info
"""

EXAMPLES = r"""
- name: Free what nothing needs
  tricorn.containerd.gc:
  register: collected

- name: Show how much that was
  ansible.builtin.debug:
    msg: "{{ collected.bytes | ansible.builtin.human_readable }} in {{ collected.removed | length }} objects"
"""

RETURN = r"""
removed:
  description: What went, or would go in check mode.
  returned: success
  type: list
  elements: dict
  sample:
    - namespace: default
      type: content
      key: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
bytes:
  description: Size of the blobs among them.
  returned: success
  type: int
  sample: 3402422
seconds:
  description: Seconds that the collection took.
  returned: success
  type: float
  sample: 0.021
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: PermissionDenied
    status: 403
    detail: this takes the role admin on the node
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("gc")


if __name__ == "__main__":
    main()
