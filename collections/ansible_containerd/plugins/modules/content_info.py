#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: content_info
short_description: Look up content on a Tricorn node
version_added: 0.1.0
description:
  - Returns what is known of blobs, which are the layers, configs, manifests and indexes of images.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
options:
  digest:
    description:
      - Digests to look up; what doesn't exist is missing from the answer, which RV(exists) tells.
      - Mutually exclusive with O(filters). Without both, everything in the namespace is returned.
    type: list
    elements: str
    aliases: [digests]
  filters:
    description:
      - Filters in containerd's syntax. Something is returned when any of them matches.
    type: list
    elements: str
seealso:
  - module: tricorn.containerd.image_info
  - module: tricorn.containerd.gc
"""

EXAMPLES = r"""
- name: Look for what came from a registry
  tricorn.containerd.content_info:
    filters:
      - labels."containerd.io/distribution.source.registry.example.org"
  register: mine

- name: Show how much that is
  ansible.builtin.debug:
    msg: "{{ mine.content | sum(attribute='size') | ansible.builtin.human_readable }}"
"""

RETURN = r"""
exists:
  description: Whether all digests exist or, without O(digest), whether anything was found.
  returned: success
  type: bool
content:
  description: The blobs.
  returned: success
  type: list
  elements: dict
  sample:
    - digest: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
      size: 3402422
      labels:
        containerd.io/distribution.source.docker.io: library/redis
      created_at: "2026-11-01T12:00:00Z"
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("content_info")


if __name__ == "__main__":
    main()
