#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_export
short_description: Write images of a Tricorn node into an archive
version_added: 0.1.0
description:
  - Makes sure that a file on the node is the archive of these images, an OCI layout in a tar that Docker can
    load, too.
  - The same images give the same archive, so that the agent tells an up-to-date file by its size and its index.
    It does not read the blobs of the file again.
  - The file appears whole or not at all. It belongs to the agent's user and is for that user alone.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  names:
    description:
      - Names of the images.
    type: list
    elements: str
    required: true
    aliases: [name]
  dest:
    description:
      - Absolute path of the file on the node. Its directory must exist.
    type: str
    required: true
    aliases: [path]
  platform:
    description:
      - Platform of the images, such as V(linux/arm64). The node's own when left out.
    type: str
  all_platforms:
    description:
      - Write what the images have for all platforms, which must be on the node.
      - Mutually exclusive with O(platform).
    type: bool
    default: false
notes:
  - The agent allows this to users that operate the whole node, as it writes the file with its own rights.
seealso:
  - module: tricorn.containerd.image_import
"""

EXAMPLES = r"""
- name: Keep an archive of two images
  tricorn.containerd.image_export:
    names:
      - docker.io/library/redis:7
      - docker.io/library/nginx:stable
    dest: /srv/archives/shop.tar
"""

RETURN = r"""
archive:
  description: The file as it is now, or would be in check mode. Its C(index) tells archives apart.
  returned: success
  type: dict
  sample:
    path: /srv/archives/shop.tar
    size: 116224512
    index: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: export
      object: file//srv/archives/shop.tar
      reason: no such file
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: NotFound
    status: 404
    detail: image docker.io/library/redis:9 does not exist
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("image_export")


if __name__ == "__main__":
    main()
