#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: content
short_description: Label or remove content of a Tricorn node
version_added: 0.1.0
description:
  - Sets labels of a blob, which is a layer, config, manifest or index of an image, or takes it from the namespace.
  - Blobs come with images and archives; M(tricorn.containerd.image) and M(tricorn.containerd.image_import) bring them.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  digest:
    description:
      - Digest of the blob.
    type: str
    required: true
    aliases: [name]
  state:
    description:
      - V(present) sees to labels of a blob that is there, and fails for one that isn't.
      - V(absent) takes it from the namespace, needed or not. Its bytes go with the next collection, unless another
        namespace has it.
    type: str
    choices: [present, absent]
    default: present
  labels:
    description:
      - Labels of the blob. Others that it has stay; an empty value removes one.
    type: dict
  keep:
    description:
      - Whether the blob is kept from garbage collection, though nothing refers to it. Left out, it stays as it is.
    type: bool
seealso:
  - module: tricorn.containerd.content_info
  - module: tricorn.containerd.lease
  - module: tricorn.containerd.gc
"""

EXAMPLES = r"""
- name: Look for layers of an image
  tricorn.containerd.content_info:
    filters:
      - labels."containerd.io/distribution.source.registry.example.org"
  register: mine

- name: Keep them, whatever becomes of the image
  tricorn.containerd.content:
    digest: "{{ item.digest }}"
    keep: true
    labels:
      team: web
  loop: "{{ mine.content }}"

- name: Take one away
  tricorn.containerd.content:
    digest: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
    state: absent
"""

RETURN = r"""
content:
  description: The blob as it is now, or would be in check mode; empty when it is absent.
  returned: success
  type: dict
  sample:
    digest: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
    size: 3402422
    labels:
      team: web
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: label
      object: content/sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: NotFound
    status: 404
    detail: content sha256:1ef2… does not exist in namespace default
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("content")


if __name__ == "__main__":
    main()
