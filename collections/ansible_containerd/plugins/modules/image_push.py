#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_push
short_description: Push images from a Tricorn node to a registry
version_added: 0.1.0
description:
  - Makes sure that a registry has an image of the node under a reference.
  - The agent asks the registry first, and sends nothing when the digests are the same. Of what it sends, blobs
    that the registry has, or can take from another of its repositories, do not travel.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.node.login
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  name:
    description:
      - Name of the image on the node, or the start of its digest.
    type: str
    required: true
  reference:
    description:
      - Reference that the image has at the registry. The image's own name when left out.
    type: str
    aliases: [repository]
  platform:
    description:
      - Push the manifest of this platform alone, without the index of an image for several.
      - Without it the image is pushed as it is, for which the node needs its content for all platforms.
    type: str
  plain_http:
    description:
      - Talk to the registry without TLS.
    type: bool
    default: false
seealso:
  - module: tricorn.containerd.image
  - module: tricorn.containerd.image_tag
"""

EXAMPLES = r"""
- name: Push an image under its own name
  tricorn.containerd.image_push:
    name: registry.example.org/team/web:1
    registry_username: deploy
    registry_password: "{{ registry_password }}"

- name: Mirror one platform of an image
  tricorn.containerd.image_push:
    name: docker.io/library/redis:7
    reference: registry.example.org/mirror/redis:7
    platform: linux/amd64
"""

RETURN = r"""
image:
  description: What the registry has now, or would have in check mode.
  returned: success
  type: dict
  sample:
    reference: registry.example.org/team/web:1
    digest: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: push
      object: image/registry.example.org/team/web:1
      reason: the registry doesn't have it
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: Unauthenticated
    status: 401
    detail: the registry wants credentials
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("image_push")


if __name__ == "__main__":
    main()
