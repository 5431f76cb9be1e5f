#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_logs
short_description: Read what a container on a Tricorn node has written
version_added: 0.1.0
description:
  - Returns lines of a container's log, whether it runs or has ended, across rotated files.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
options:
  container:
    description:
      - Name of the container.
    type: str
    required: true
    aliases: [name]
  tail:
    description:
      - Only so many lines from the end; V(0) for all of them.
    type: int
    default: 1000
  since:
    description:
      - Only lines from this time on (RFC 3339, with an offset or V(Z)).
    type: str
  until:
    description:
      - Only lines up to this time (RFC 3339, with an offset or V(Z)).
    type: str
seealso:
  - module: tricorn.containerd.container
"""

EXAMPLES = r"""
- name: Read the last lines
  tricorn.containerd.container_logs:
    container: web
    tail: 20
  register: log

- name: Stop when it complained
  ansible.builtin.assert:
    that:
      - "'panic' not in log.stderr"

- name: Read what it wrote in one hour
  tricorn.containerd.container_logs:
    container: web
    since: "2026-01-31T12:00:00Z"
    until: "2026-01-31T13:00:00Z"
"""

RETURN = r"""
lines:
  description: The lines of both streams, in the order in which they were written.
  returned: success
  type: list
  elements: dict
  sample:
    - timestamp: "2026-01-31T12:00:00.123456789+00:00"
      stream: stdout
      text: ready
stdout:
  description: The text of standard output; of a container with a terminal, all it has written.
  returned: success
  type: str
stdout_lines:
  description: The same as lines.
  returned: success
  type: list
  elements: str
stderr:
  description: The text of standard error.
  returned: success
  type: str
stderr_lines:
  description: The same as lines.
  returned: success
  type: list
  elements: str
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
    run("container_logs")


if __name__ == "__main__":
    main()
