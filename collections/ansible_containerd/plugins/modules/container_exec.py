#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_exec
short_description: Execute a command in a container on a Tricorn node
version_added: 0.1.0
description:
  - Executes a command in a running container and returns what it wrote.
extends_documentation_fragment:
  - tricorn.containerd.node
  - tricorn.containerd.node.namespace
  - tricorn.containerd.attributes
attributes:
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: partial
    details:
      - The command is not executed. The task is skipped unless O(creates), O(removes) or O(detach) tell what
        would happen.
      - Looking these up executes C(test) in the container, in check mode too.
  diff_mode:
    description: Returns what has changed, or would change in check mode.
    support: none
  idempotent:
    description: A second run with the same options changes nothing.
    support: partial
    details:
      - With O(creates) or O(removes), as far as the command keeps their promise.
      - With O(exec_id) while the detached command runs.
options:
  container:
    description:
      - Name of the container.
    type: str
    required: true
    aliases: [name]
  argv:
    description:
      - The command as a list of words.
      - Exactly one of O(argv) and O(command) is required.
    type: list
    elements: str
  command:
    description:
      - The command line, split into words as a shell does. No shell is involved.
    type: str
  stdin:
    description:
      - Text for the command's standard input.
    type: str
  env:
    description:
      - Environment variables in addition to the container's. Values must be texts or whole numbers.
    type: dict
  user:
    description:
      - User in place of the container's.
    type: str
  cwd:
    description:
      - Working directory in place of the container's.
    type: str
    aliases: [chdir]
  tty:
    description:
      - Run the command on a terminal; all its output is in RV(stdout) then.
    type: bool
    default: false
  detach:
    description:
      - Leave the command running, and do not wait for it. It goes on when the play and even the agent end.
      - C(tricorn attach --exec ID CONTAINER) joins it, C(tricorn logs --exec ID CONTAINER) prints what it wrote.
      - It has no O(stdin), and O(timeout) and O(fail_on_rc) mean nothing to it.
    type: bool
    default: false
  exec_id:
    description:
      - Id of the detached command in its container. While one of this id runs, the task changes nothing. One that
        has ended is forgotten and the command runs again.
      - One is made up when left out.
    type: str
  creates:
    description:
      - Path inside the container. If it exists, the command is not executed.
    type: str
  removes:
    description:
      - Path inside the container. If it does not exist, the command is not executed.
    type: str
  fail_on_rc:
    description:
      - Fail when the command ends with another code than 0.
    type: bool
    default: true
notes:
  - The option O(timeout) bounds the command too. At its end the agent kills the command and all its children.
seealso:
  - module: tricorn.containerd.container
"""

EXAMPLES = r"""
- name: Ask a database for its version
  tricorn.containerd.container_exec:
    container: database
    argv: [psql, --version]
  register: version
  changed_when: false

- name: Load a dump once
  tricorn.containerd.container_exec:
    container: database
    command: sh -c 'psql shop && touch /var/lib/loaded'
    stdin: "{{ lookup('ansible.builtin.file', 'shop.sql') }}"
    creates: /var/lib/loaded
    timeout: 120

- name: Have a queue worked off beside the database, once at a time
  tricorn.containerd.container_exec:
    container: database
    argv: [/usr/bin/work-off, --forever]
    detach: true
    exec_id: worker
"""

RETURN = r"""
cmd:
  description: The command as a list of words.
  returned: always
  type: list
  elements: str
  sample: [psql, --version]
rc:
  description: Exit code of the command.
  returned: always
  type: int
  sample: 0
stdout:
  description: What the command wrote to standard output.
  returned: always
  type: str
stdout_lines:
  description: The same as lines.
  returned: always
  type: list
  elements: str
stderr:
  description: What the command wrote to standard error.
  returned: always
  type: str
stderr_lines:
  description: The same as lines.
  returned: always
  type: list
  elements: str
exec_id:
  description: Id of the detached command.
  returned: with O(detach=true), unless in check mode
  type: str
  sample: worker
pid:
  description: The detached command's process, as the node numbers it.
  returned: with O(detach=true), unless in check mode
  type: int
delta:
  description: Seconds that the command took.
  returned: when it was executed
  type: float
  sample: 0.052
timed_out:
  description: Whether the command was killed because O(timeout) was over.
  returned: when it was executed
  type: bool
truncated:
  description: Whether the command wrote more than the agent keeps, 16 MiB of either stream.
  returned: when it was executed
  type: bool
"""

from ansible_collections.tricorn.containerd.plugins.module_utils._module import run


def main():
    run("container_exec")


if __name__ == "__main__":
    main()
