#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: task
short_description: Start, pause, stop and signal containers on a Tricorn node
version_added: 0.1.0
description:
  - Brings the task of a container, which is its running side, into a state. What the container is made of stays
    as it is; M(tricorn.containerd.container) changes that.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
attributes:
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: full
  diff_mode:
    description: Returns what has changed, or would change in check mode.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: partial
    details:
      - With the states V(restarted) and V(killed) a container that runs is always changed.
options:
  container:
    description:
      - Name of the container.
    type: str
    required: true
    aliases: [name]
  state:
    description:
      - V(running) starts a container that does not run, and lets a paused one go on.
      - V(healthy) does so, too, and waits until the container's health check says that it is well.
      - V(paused) freezes all processes of a running container. One that does not run fails the task.
      - V(stopped) asks a container to end and kills it when its time is up.
      - V(killed) sends O(signal) to a container that runs.
      - V(restarted) stops a container that runs and starts it.
    type: str
    choices: [running, healthy, paused, stopped, killed, restarted]
    default: running
  signal:
    description:
      - The signal of O(state=killed), by name or number.
    type: str
    default: SIGKILL
  all_processes:
    description:
      - With O(state=killed), send the signal to all processes of the container rather than to its first one.
    type: bool
    default: false
  stop_timeout:
    description:
      - Seconds between the signal that asks the container to end and the one that kills it. The container's own
        when left out.
    type: float
  resources:
    description:
      - Limits that the container shall have, running or not; they change while it runs. Those that are not named stay.
    type: dict
    suboptions:
      memory:
        description:
          - Memory, as a number of bytes or with a unit, such as V(64m) or V(1.5g).
        type: str
      memory_swap:
        description:
          - Memory and swap together; V(-1) is unlimited.
        type: str
      memory_reservation:
        description:
          - Memory that the kernel tries to leave to the container.
        type: str
      cpus:
        description:
          - Processor time in cores, such as V(1.5).
        type: float
      cpu_shares:
        description:
          - Weight against other containers when processors are busy.
        type: int
      cpuset_cpus:
        description:
          - Processors that may be used, such as V(0-3,6).
        type: str
      cpuset_mems:
        description:
          - Memory nodes that may be used.
        type: str
      pids:
        description:
          - Number of processes and threads.
        type: int
  wait:
    description:
      - With O(state=killed), wait until the container has ended, for O(timeout) seconds at most. Say V(false) for
        signals that do not end it.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds until a container that is not healthy fails the task.
    type: float
    default: 60
seealso:
  - module: tricorn.containerd.container
  - module: tricorn.containerd.task_info
"""

EXAMPLES = r"""
- name: Hold still while a copy is made
  tricorn.containerd.task:
    container: web
    state: paused

- name: Go on
  tricorn.containerd.task:
    container: web

- name: Have the configuration read again
  tricorn.containerd.task:
    container: web
    state: killed
    signal: SIGHUP
    wait: false

- name: Restart and wait until it answers
  tricorn.containerd.task:
    container: web
    state: restarted
    stop_timeout: 1

- name: Wait until the health check is content
  tricorn.containerd.task:
    container: web
    state: healthy
    wait_timeout: 90

- name: Give it more room
  tricorn.containerd.task:
    container: web
    resources:
      memory: 128m
      pids: 200
"""

RETURN = r"""
task:
  description: The task, as it is now or, in check mode, as far as it can be told.
  returned: success
  type: dict
  sample:
    container: web
    status: running
    pid: 4711
    exit_code: null
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: pause
      object: task/web
      reason: it is running
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
    run("task")


if __name__ == "__main__":
    main()
