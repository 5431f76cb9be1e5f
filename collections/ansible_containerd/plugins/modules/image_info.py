#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_info
short_description: Look up images on a Tricorn node
version_added: 0.1.0
description:
  - Returns images of a namespace by name or by filter.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.node.lookup
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
seealso:
  - module: tricorn.containerd.image
"""

EXAMPLES = r"""
- name: Look two images up
  tricorn.containerd.image_info:
    name:
      - docker.io/library/redis:7
      - docker.io/library/nginx:stable
  register: images

- name: Stop when one is missing
  ansible.builtin.assert:
    that: images.exists
"""

RETURN = r"""
exists:
  description: Whether all names exist or, without O(name), whether anything was found.
  returned: success
  type: bool
images:
  description: The images. Looked up by name they come with their O(ignore:config) and layers.
  returned: success
  type: list
  elements: dict
  sample:
    - name: docker.io/library/redis:7
      digest: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
      size: 45143552
      platform: linux/amd64
      unpacked: true
      labels: {}
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("image_info")


if __name__ == "__main__":
    main()
