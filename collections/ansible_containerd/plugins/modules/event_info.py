#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: event_info
short_description: Read what has happened on a Tricorn node
version_added: 0.1.0
description:
  - Returns events of the agent's journal. It keeps the latest ones, across restarts of the agent.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.info
options:
  namespace:
    description:
      - Namespace of the agent. Without it, events of all namespaces count, which takes a right on the node as a whole.
    type: str
  filters:
    description:
      - Filters in containerd's syntax, such as V(topic=="/tasks/exit",event.container_id==web). An event counts when
        any of them matches.
    type: list
    elements: str
  since:
    description:
      - Only events after this cursor, which an earlier task returned as RV(cursor).
      - Without it, all that is kept.
    type: int
  limit:
    description:
      - At most so many events, the oldest ones.
    type: int
    default: 1000
seealso:
  - module: tricorn.containerd.event_wait
"""

EXAMPLES = r"""
- name: See which containers have ended
  tricorn.containerd.event_info:
    namespace: default
    filters:
      - topic=="/tasks/exit"
  register: ended

- name: Show them
  ansible.builtin.debug:
    msg: "{{ ended.events | map(attribute='event.container_id') | list }}"
"""

RETURN = r"""
events:
  description: The events, oldest first.
  returned: success
  type: list
  elements: dict
  sample:
    - sequence: 42
      timestamp: "2026-01-31T12:00:00.000000Z"
      namespace: default
      topic: /tasks/exit
      event:
        container_id: web
        exit_status: 0
cursor:
  description: Where these events end. A task that asks on from there misses none.
  returned: success
  type: int
  sample: 42
lost:
  description: Events that were asked for and are no longer kept.
  returned: success
  type: int
  sample: 0
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("event_info")


if __name__ == "__main__":
    main()
