#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container
short_description: Manage containers on a Tricorn node
version_added: 0.1.0
description:
  - Creates, changes, starts, stops and removes containers.
  - The options describe the whole container. The agent keeps that description and compares it with the one of the
    next run, so an option that was taken out of the task counts as a change too.
  - A container whose description changed is recreated, unless the change can be made while it runs.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.node.source
  - tricorn.containerd.attributes
  - tricorn.containerd.attributes.desired
attributes:
  idempotent:
    support: partial
    details:
      - With O(state=restarted) the container is restarted at every run.
options:
  name:
    description:
      - Name of the container.
    type: str
    required: true
    aliases: [id]
  state:
    description:
      - V(present) makes sure that the container exists as described and leaves a running one running.
      - V(started) makes sure that it runs as well, V(stopped) that it exists and doesn't run.
      - V(restarted) stops and starts it, unless creating it has just started it.
      - V(absent) makes sure that it doesn't exist. A running container is only removed with O(force).
    type: str
    choices: [present, started, stopped, restarted, absent]
    default: started
  force:
    description:
      - With O(state=absent), remove the container even if it is running. It is killed, unless O(stop_timeout) tells
        how long it may take to stop.
    type: bool
    default: false
  image:
    description:
      - Reference of the image. It is pulled according to O(pull).
      - When left out, an existing container keeps its description and all other options are ignored but O(state).
        Required with O(state=present).
    type: str
  command:
    description:
      - The command line in place of the image's, split into words as a shell does. No shell is involved.
      - Mutually exclusive with O(args).
    type: str
  args:
    description:
      - The command in place of the image's as a list of words.
    type: list
    elements: str
  entrypoint:
    description:
      - Entrypoint in place of the image's. An empty list removes it.
    type: list
    elements: str
  env:
    description:
      - Environment variables in addition to the image's. Values must be texts or whole numbers; put V("yes") and
        the like in quotes.
    type: dict
  cwd:
    description:
      - Working directory in place of the image's.
    type: str
    aliases: [working_dir]
  user:
    description:
      - User as V(user), V(user:group), V(uid) or V(uid:gid), looked up inside the container.
    type: str
  groups:
    description:
      - Additional groups, by name or number.
    type: list
    elements: str
  hostname:
    description:
      - Host name inside the container. Its name when left out.
    type: str
  mounts:
    description:
      - Mounts in addition to those that every container has.
    type: list
    elements: dict
    suboptions:
      target:
        description:
          - Path inside the container.
        type: str
        required: true
      source:
        description:
          - Path on the node for a bind mount, else what the type takes.
        type: str
      type:
        description:
          - Type of the mount, V(bind), V(tmpfs) or another that the runtime takes.
        type: str
        default: bind
      options:
        description:
          - Options as V(mount(8\)) spells them, such as V(ro) or V(size=64m).
        type: list
        elements: str
  devices:
    description:
      - Devices as V(host), V(host:container) or V(host:container:rwm).
    type: list
    elements: str
  capabilities_add:
    description:
      - Capabilities in addition to the default ones, such as V(CAP_NET_ADMIN).
    type: list
    elements: str
  capabilities_drop:
    description:
      - Capabilities to take away.
    type: list
    elements: str
  privileged:
    description:
      - Give the container all capabilities and devices, and no confinement. It is then root on the node.
    type: bool
  read_only:
    description:
      - Mount the root filesystem read-only.
    type: bool
  no_new_privileges:
    description:
      - Keep processes from gaining privileges, through setuid programs for instance. The agent's default is V(true).
    type: bool
  tty:
    description:
      - Run the process on a terminal.
    type: bool
  stdin:
    description:
      - Keep the process's standard input open, so that one can attach to it.
    type: bool
  network:
    description:
      - V(private) or V(none) is a network namespace with nothing but loopback, V(host) the node's.
      - The name of a network, see M(tricorn.containerd.network), or V(cni:) and the name of a CNI configuration list
        of the node, gives the container an address there. It keeps this until it is removed.
      - V(container:) and the name of a container that runs is that one's, V(path:) and a path a network namespace.
    type: str
  ports:
    description:
      - Ports of the node that lead to ports of the container. They need O(network) to be one with addresses.
    type: list
    elements: dict
    suboptions:
      container:
        description:
          - Port in the container.
        type: int
        required: true
      host:
        description:
          - Port of the node. No other container can have it until this one is removed.
        type: int
        required: true
      protocol:
        description:
          - Protocol of the port.
        type: str
        choices: [tcp, udp]
        default: tcp
      address:
        description:
          - Address of the node at which the port is. All of its addresses when left out.
        type: str
  namespaces:
    description:
      - Other namespaces by kind (C(pid), C(ipc), C(uts), C(mount), C(cgroup), C(user)), each V(private), V(host) or
        the path of one.
    type: dict
  resources:
    description:
      - Limits of the container's control group.
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
  rlimits:
    description:
      - Limits of each process.
    type: list
    elements: dict
    suboptions:
      type:
        description:
          - Name of the limit, such as V(RLIMIT_NOFILE).
        type: str
        required: true
      soft:
        description:
          - Limit that applies.
        type: int
        required: true
      hard:
        description:
          - Limit up to which the process may raise it.
        type: int
        required: true
  sysctls:
    description:
      - Kernel parameters of the container's namespaces.
    type: dict
  seccomp:
    description:
      - V(default), V(unconfined) or the absolute path of a profile on the node.
    type: str
  annotations:
    description:
      - Annotations in the runtime's specification.
    type: dict
  labels:
    description:
      - Labels of the container, for filters.
    type: dict
  runtime:
    description:
      - Runtime by name, such as V(crun) or V(runc). The agent's choice when left out.
    type: str
  stop_signal:
    description:
      - Signal that asks the process to stop, in place of the image's.
    type: str
  stop_timeout:
    description:
      - Seconds between that signal and the kill. The agent's default is 10.
    type: float
  health:
    description:
      - How the agent finds out whether the container is well. Nobody asks when left out.
    type: dict
    suboptions:
      exec:
        description:
          - A program run in the container. It is well when this ends with 0.
        type: list
        elements: str
      tcp:
        description:
          - A port in the container's network. It is well when this can be connected to.
        type: int
      http:
        description:
          - A URL such as V(http://127.0.0.1:8080/ready), asked in the container's network. It is well when the answer
            is 200 to 399.
        type: str
      interval:
        description:
          - Seconds between two checks. The agent's default is 30.
        type: float
      timeout:
        description:
          - Seconds that one check may take. The agent's default is 5.
        type: float
      retries:
        description:
          - Failures in a row that make it unhealthy. The agent's default is 3.
        type: int
      start_period:
        description:
          - Seconds after the start in which failures don't count. The agent's default is 0.
        type: float
      on_unhealthy:
        description:
          - With V(kill), an unhealthy container is killed; what follows is up to O(restart_policy).
        type: str
        choices: [none, kill]
  restart_policy:
    description:
      - When a container that has ended is started again, by the agent and without Ansible.
      - V(always) after any end, after a reboot of the node too; V(unless-stopped) the same, but a container that was
        stopped by hand stays so; V(on-failure) when its exit code isn't 0, V(on-failure:5) five times in a row at most;
        V(no) never, which is the agent's default.
      - Attempts in a row have growing pauses between them, from 0.1 seconds to a minute.
    type: str
  log_size:
    description:
      - Size at which a log file is rotated, as a number of bytes or with a unit. The agent's default when left out.
    type: str
  log_files:
    description:
      - Number of log files to keep. The agent's default when left out.
    type: int
seealso:
  - module: tricorn.containerd.container_info
  - module: tricorn.containerd.container_exec
  - module: tricorn.containerd.image
  - module: tricorn.containerd.network
"""

EXAMPLES = r"""
- name: Run a service
  tricorn.containerd.container:
    name: cache
    image: docker.io/library/redis:7
    args: [redis-server, --save, "60", "1"]
    env:
      TZ: UTC
    mounts:
      - target: /data
        source: /srv/cache
    resources:
      memory: 256m
      cpus: 1.5
    labels:
      app: cache

- name: Run a site that the node's port 8080 leads to
  tricorn.containerd.container:
    name: site
    image: docker.io/library/nginx:1
    network: front
    ports:
      - host: 8080
        container: 80

- name: Restart it
  tricorn.containerd.container:
    name: cache
    state: restarted

- name: Remove it, running or not
  tricorn.containerd.container:
    name: cache
    state: absent
    force: true
    stop_timeout: 10
"""

RETURN = r"""
container:
  description:
    - The container as it is now, or would be in check mode; empty when it is absent.
    - Holds what was asked for, and the state. M(tricorn.containerd.container_info) tells more.
  returned: success
  type: dict
  sample:
    id: cache
    namespace: default
    image: docker.io/library/redis:7
    image_digest: sha256:1ef2d1b1c4d4b1b2f1c5a5f0b8b0a1c8f6bb5a1b3f7f0c6d8a1e5a3c2d4f6e8a
    runtime: crun
    labels:
      app: cache
    status: running
    pid: 4711
actions:
  description: What was done, or would be done in check mode, in the order of execution.
  returned: success
  type: list
  elements: dict
  sample:
    - verb: create
      object: container/cache
      reason: no such container
    - verb: start
      object: container/cache
      reason: no such container
error:
  description: The agent's problem document (RFC 9457).
  returned: when the agent refused the request
  type: dict
  sample:
    code: FailedPrecondition
    status: 412
    detail: "container cache: it is running"
    hint: stop it or use force
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("container")


if __name__ == "__main__":
    main()
