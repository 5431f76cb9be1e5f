#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image
short_description: Manage images on a Tricorn node
version_added: 0.1.0
description:
  - Pulls, unpacks, labels and removes images.
  - Whether anything needs to be done is decided by the agent, which compares digests.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.node.source
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  name:
    description:
      - Reference of the image by tag or digest. Short names are completed as usual, V(redis) stands for
        V(docker.io/library/redis:latest).
    type: str
    required: true
    aliases: [reference]
  state:
    description:
      - V(present) makes sure that the image is there, V(absent) that its name is not.
      - The content of a removed image goes at the next garbage collection when nothing else needs it.
    type: str
    choices: [present, absent]
    default: present
  registry_username:
    description:
      - User at the registry.
    type: str
  registry_password:
    description:
      - Password at the registry. It serves this one task and is stored nowhere.
    type: str
  unpack:
    description:
      - Unpack the layers as well, so that containers start at once.
    type: bool
    default: true
  labels:
    description:
      - Labels of the image.
    type: dict
seealso:
  - module: tricorn.containerd.image_info
  - module: tricorn.containerd.container
"""

EXAMPLES = r"""
- name: Pull an image
  tricorn.containerd.image:
    name: docker.io/library/redis:7

- name: Follow a tag of a private registry
  tricorn.containerd.image:
    name: registry.example.org/team/web:stable
    pull: always
    registry_username: deploy
    registry_password: "{{ registry_password }}"

- name: Remove an image
  tricorn.containerd.image:
    name: docker.io/library/redis:6
    state: absent
"""

RETURN = r"""
image:
  description: The image as it is now, or would be in check mode; empty when it is absent.
  returned: success
  type: dict
  sample:
    name: docker.io/library/redis:7
    digest: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
    size: 45143552
    platform: linux/amd64
    unpacked: true
    labels: {}
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: pull
      object: image/docker.io/library/redis:7
      reason: not on the node
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: NotFound
    status: 404
    detail: image docker.io/library/redis:9 not found
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("image")


if __name__ == "__main__":
    main()
