# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: container_ssh
short_description: Run tasks in containers of nodes that ssh reaches
version_added: 0.1.0
description:
  - Tasks run inside a container of another machine. Ansible's own ssh connection leads to the machine, its agent into
    the container.
  - With C(ControlPersist), which is Ansible's default, all commands of all containers of a node share one ssh
    connection.
  - The container has to run. Modules need a Python in it, M(ansible.builtin.raw) a shell only.
  - The node needs a Python 3, and the user that ssh logs in as the right to use the agent's socket, see
    O(node_become).
notes:
  - The options of P(ansible.builtin.ssh#connection) are here, too, and mean the node. RV(ignore:ansible_host) is the
    node's address, RV(ignore:ansible_tricorn_container) the container.
  - Nothing asks for passwords in a container. For another user than that of the container there are
    O(container_user), and P(tricorn.containerd.container_user#become) for single tasks.
seealso:
  - plugin: tricorn.containerd.container
    plugin_type: connection
  - plugin: tricorn.containerd.containers
    plugin_type: inventory
extends_documentation_fragment:
  - connection_pipelining
  - tricorn.containerd.container
  - tricorn.containerd.ssh
options:
  container_user:
    description:
      - User or number, with or without C(:group), that commands run as in the container. Its own when left out.
    type: str
    vars:
      - name: ansible_tricorn_user
  node_python:
    description:
      - Python 3 of the node.
    type: str
    default: /usr/bin/python3
    vars:
      - name: ansible_tricorn_node_python
  node_become:
    description:
      - Reach the agent's socket on the node by C(sudo -n), without a password.
    type: bool
    default: false
    vars:
      - name: ansible_tricorn_node_become
  pipelining:
    default: true
"""

EXAMPLES = r"""
- name: Take a container of the node into the inventory
  ansible.builtin.add_host:
    name: "web.{{ inventory_hostname }}"
    groups: containers
    ansible_connection: tricorn.containerd.container_ssh
    ansible_host: "{{ ansible_host }}"
    ansible_tricorn_container: web
- name: Ask its shell
  delegate_to: "web.{{ inventory_hostname }}"
  ansible.builtin.raw: uname -n
  changed_when: false
"""

import os
import time

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.text.converters import to_bytes
from ansible.plugins.connection.ssh import Connection as SshConnection
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError
from ansible_collections.tricorn.containerd.plugins.plugin_utils import _stream
from ansible_collections.tricorn.containerd.plugins.plugin_utils._container import NOT_FOUND, InContainer

SSH_FAILED = 255


class Connection(InContainer, SshConnection):
    transport = "tricorn.containerd.container_ssh"

    def _who(self):
        return self.get_option("container_user") or ""

    def agent(self):
        """Return a stream to the agent, to be closed."""
        return self._open()

    def _open(self):
        """Return a stream through ssh; one that breaks before anything was said is tried again."""
        self.host = self.get_option("host") or self._play_context.remote_addr
        path, patience = self.get_option("socket"), self.get_option("agent_timeout")
        for attempt in range(self.get_option("reconnection_retries"), -1, -1):
            try:
                return _stream.through(self._ssh(path), path, patience)
            except _stream.NoStream as error:
                if error.status != SSH_FAILED or not attempt:
                    raise self._unreachable(error) from None
                time.sleep(1)
            except AgentError as error:
                raise AnsibleConnectionFailure("On the node %s: %s" % (self.host, error)) from None

    def _unreachable(self, error):
        if error.status == SSH_FAILED:
            return AnsibleConnectionFailure("Cannot reach the node %s by ssh: %s" % (self.host, error))
        hint = ""
        if error.status in NOT_FOUND:
            hint = " (hint: ansible_tricorn_node_python names the node's Python 3, ansible_tricorn_node_become wants sudo)"
        return AnsibleConnectionFailure("Nothing on the node %s leads to the agent: %s%s" % (self.host, error, hint))

    def _ssh(self, path):
        """Return the command line of ssh that carries the stream."""
        program = self.get_option("ssh_executable")
        if self.get_option("password") or self._play_context.password:
            self._log_in()
        command = _stream.command(self.get_option("node_python"), path)
        if self.get_option("node_become"):
            command = "sudo -n " + command
        words = self._build_command(program, "ssh", self.host, command)
        if not self._persistent and (self.get_option("password") or self._play_context.password):
            raise AnsibleConnectionFailure("Passwords for ssh take ControlPersist: it is not among ansible_ssh_args")
        return words[words.index(to_bytes(program)):]  # without sshpass: the connection is there

    def _log_in(self):
        """Have Ansible's own plugin bring the shared connection up, which knows how to give a password."""
        become, self.become = self.become, None
        try:
            status, dummy, complaint = SshConnection.exec_command(self, "true", sudoable=False)
        finally:
            self.become = become
            for descriptor in getattr(self, "sshpass_pipe", None) or ():
                try:
                    os.close(descriptor)
                except OSError:
                    pass
        if status:
            raise AnsibleConnectionFailure("Cannot reach the node %s by ssh: %s" % (self.host, complaint.decode("utf-8", "replace")))
