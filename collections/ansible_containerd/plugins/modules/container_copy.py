#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_copy
short_description: Copy files into containers and out of them on a Tricorn node
version_added: 0.1.0
description:
  - Makes sure that a path in a container is the same as a file or directory of the controller or of the node, or holds
    a text; or that a path of the node is the same as one in a container.
  - Only what differs is written, by content, mode and owner. A file is replaced whole. What is in a directory besides
    stays.
  - Containers need not run. What is mounted in them is seen only while they do.
  - Secrets in O(content) are shown by C(--diff); the keyword C(no_log) prevents that.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
options:
  container:
    description:
      - Name of the container.
    type: str
    required: true
    aliases: [name]
  path:
    description:
      - Absolute path in the container. Symlinks on the way to it lead where they lead there.
    type: str
    required: true
  src:
    description:
      - File or directory to copy into the container, on the controller or, with O(remote_src), on the node.
      - The files of directories keep their modes. Devices, sockets and extended attributes are left out.
      - Exactly one of O(src), O(content), O(dest) and O(state) is required.
    type: str
  content:
    description:
      - What the file in the container shall hold.
    type: str
  encoding:
    description:
      - Whether O(content) is the text itself, or bytes in base64.
    type: str
    choices: [text, base64]
    default: text
  dest:
    description:
      - Absolute path on the node, which shall be the same as O(path).
    type: str
  state:
    description:
      - With V(directory), O(path) shall be a directory.
    type: str
    choices: [directory]
  remote_src:
    description:
      - O(src) is on the node.
    type: bool
    default: false
  follow:
    description:
      - Copy what a symlink points to when O(path), or O(src) on the node, is one.
    type: bool
    default: false
  owner:
    description:
      - Owner of the files, by number.
    type: int
    default: 0
  group:
    description:
      - Group of the files, by number.
    type: int
    default: 0
  mode:
    description:
      - Mode of files, as an octal number in quotes such as V("0644"). Those of the source when left out, V("0644") with
        O(content).
    type: raw
  directory_mode:
    description:
      - Mode of directories, likewise; V("0755") with O(state).
    type: raw
  parents:
    description:
      - Make missing directories on the way. Without it they fail the task.
    type: bool
    default: false
notes:
  - Files of the controller travel within the request. What takes more than 256 MiB has to be brought to the node first.
seealso:
  - module: tricorn.containerd.container_exec
"""

EXAMPLES = r"""
- name: Configure an application
  tricorn.containerd.container_copy:
    container: web
    path: /etc/shop/shop.conf
    content: |
      mode = production
      workers = 4
    mode: "0640"
    parents: true
  register: configuration

- name: Have it read again
  tricorn.containerd.task:
    container: web
    state: killed
    signal: SIGHUP
    wait: false
  when: configuration.changed

- name: Keep a copy on the node
  tricorn.containerd.container_copy:
    container: web
    path: /etc/shop
    dest: "{{ backup_directory }}/shop"

- name: Bring it into the container again
  tricorn.containerd.container_copy:
    container: web
    path: /srv/shop
    src: "{{ backup_directory }}/shop"
    remote_src: true
    directory_mode: "0750"
    parents: true
"""

RETURN = r"""
files:
  description: What was written, or would be, by path; at most 100 paths. Of a single file also when nothing differs.
  returned: success
  type: dict
  sample:
    /etc/shop/shop.conf:
      type: file
      mode: "0640"
      uid: 0
      gid: 0
      size: 30
      sha256: 1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
checksum:
  description: SHA-256 of a single file.
  returned: success
  type: str
actions:
  description: What was done, or would be done in check mode; at most 1000 of them.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: replace
      object: file//etc/shop/shop.conf
      reason: differs
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: NotFound
    status: 404
    detail: container web does not exist in namespace default
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("container_copy")


if __name__ == "__main__":
    main()
