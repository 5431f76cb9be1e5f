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
  - tricorn.containerd.node.login
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
      - V(latest) asks the registry whether there is a newer one, too, whatever O(pull) says.
      - The content of a removed image goes at the next garbage collection when nothing else needs it.
    type: str
    choices: [present, latest, absent]
    default: present
  platforms:
    description:
      - Further platforms, such as V(linux/arm64), whose content comes along and stays packed.
      - An image that is to be pushed or exported for several platforms needs this.
      - Mutually exclusive with O(all_platforms).
    type: list
    elements: str
  all_platforms:
    description:
      - Bring the content for all platforms that the image has; only the node's own, or O(platform), is unpacked.
    type: bool
    default: false
  verify:
    description:
      - Ask the node's image policy first, in check mode too, and fail unless one of its rules allows the image.
      - The agent holds each pull to its policy anyway. This fails the task where no rule speaks of the image, too.
      - It also fails if the image on the node isn't the one that was verified; O(state=latest) brings that one.
    type: bool
    default: false
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
  - module: tricorn.containerd.image_push
  - module: tricorn.containerd.image_tag
  - module: tricorn.containerd.image_export
  - module: tricorn.containerd.image_import
  - module: tricorn.containerd.container
"""

EXAMPLES = r"""
- name: Pull an image
  tricorn.containerd.image:
    name: docker.io/library/redis:7

- name: Follow a tag of a private registry
  tricorn.containerd.image:
    name: registry.example.org/team/web:stable
    state: latest
    registry_username: deploy
    registry_password: "{{ registry_password }}"

- name: Bring an image for two platforms that the node's policy vouches for
  tricorn.containerd.image:
    name: registry.example.org/team/web:1
    platforms: [linux/amd64, linux/arm64]
    verify: true

- name: Bring all of an image to export it
  tricorn.containerd.image:
    name: registry.example.org/team/web:1
    all_platforms: true
    unpack: false

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
policy:
  description: What the image policy says of the image.
  returned: with O(verify)
  type: dict
  sample:
    reference: registry.example.org/team/web:1
    allowed: true
    rule: our own
    reason: signed by release
    digest: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
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
