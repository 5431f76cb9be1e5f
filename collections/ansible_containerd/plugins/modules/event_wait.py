#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: event_wait
short_description: Wait until something happens on a Tricorn node
version_added: 0.1.0
description:
  - Waits for events of the agent's journal, and fails when there are not enough of them in time.
  - With O(since) events count that came before the task began, so that nothing is lost between two tasks.
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
      - Without it, only events count that come while the task waits.
    type: int
  count:
    description:
      - Wait for so many events.
    type: int
    default: 1
  wait_timeout:
    description:
      - Seconds to wait.
    type: float
    default: 60
seealso:
  - module: tricorn.containerd.event_info
"""

EXAMPLES = r"""
- name: Note where the journal ends
  tricorn.containerd.event_info:
    namespace: default
  register: before

- name: Start the work
  tricorn.containerd.task:
    container: web
    state: restarted
    stop_timeout: 1

- name: Wait until it has begun, however fast that was
  tricorn.containerd.event_wait:
    namespace: default
    since: "{{ before.cursor }}"
    filters:
      - topic=="/tasks/start",event.container_id==web
    wait_timeout: 120
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
    run("event_wait")


if __name__ == "__main__":
    main()
