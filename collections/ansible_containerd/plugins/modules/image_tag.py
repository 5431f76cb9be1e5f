#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_tag
short_description: Give images more names on a Tricorn node
version_added: 0.1.0
description:
  - Makes sure that an image of the node has these names, too. Names that it has besides stay.
  - To take a name away use M(tricorn.containerd.image) with O(tricorn.containerd.image#module:state=absent).
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  name:
    description:
      - Name of the image, or the start of its digest.
    type: str
    required: true
  tags:
    description:
      - References that the image shall have, too. Short names are completed as usual.
    type: list
    elements: str
    required: true
    aliases: [references]
  force:
    description:
      - Move names that stand for another image. Without it such a name fails the task.
    type: bool
    default: false
seealso:
  - module: tricorn.containerd.image
  - module: tricorn.containerd.image_push
"""

EXAMPLES = r"""
- name: Name the release that is in use
  tricorn.containerd.image_tag:
    name: registry.example.org/team/web:1.4.2
    tags:
      - registry.example.org/team/web:production
    force: true
"""

RETURN = r"""
names:
  description: The names that were asked for, each with the digest it stands for now, or would in check mode.
  returned: success
  type: dict
  sample:
    registry.example.org/team/web:production: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: tag
      object: image/registry.example.org/team/web:production
      reason: no such name
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: AlreadyExists
    status: 409
    detail: registry.example.org/team/web:production stands for another image
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("image_tag")


if __name__ == "__main__":
    main()
