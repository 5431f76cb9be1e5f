#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_import
short_description: Bring images of an archive to a Tricorn node
version_added: 0.1.0
description:
  - Makes sure that the images of an archive on the node are in the agent as the archive holds them.
  - The archive is an OCI layout or what C(docker save) writes, as tar, gzip or zstd.
  - The agent looks into the archive for the names and digests of its images, and imports nothing when all of
    them are there, complete and unpacked.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  src:
    description:
      - Absolute path of the archive on the node.
    type: str
    required: true
    aliases: [path]
  base_name:
    description:
      - Take images of this name only, and complete tags that stand alone with it.
    type: str
  platform:
    description:
      - Platform of the images, such as V(linux/arm64). The node's own when left out.
    type: str
  all_platforms:
    description:
      - Bring what the archive has for all platforms.
      - Mutually exclusive with O(platform).
    type: bool
    default: false
  unpack:
    description:
      - Unpack the layers as well, so that containers start at once.
    type: bool
    default: true
  compress:
    description:
      - Compress layers that come as plain tar, which C(docker save) writes.
    type: bool
    default: false
notes:
  - The agent allows this to users that operate the whole node, as it reads the file with its own rights.
seealso:
  - module: tricorn.containerd.image_export
  - module: ansible.builtin.copy
"""

EXAMPLES = r"""
- name: Bring an archive to the node
  ansible.builtin.copy:
    src: shop.tar
    dest: /srv/archives/shop.tar
    mode: "0600"

- name: Import its images
  tricorn.containerd.image_import:
    src: /srv/archives/shop.tar
"""

RETURN = r"""
images:
  description: The images of the archive by name, each with its digest, as they are now or would be in check mode.
  returned: success
  type: dict
  sample:
    docker.io/library/redis:7: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: import
      object: image/docker.io/library/redis:7
      reason: not as in the archive
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: InvalidArgument
    status: 400
    detail: /srv/archives/shop.tar is no archive of images
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("image_import")


if __name__ == "__main__":
    main()
