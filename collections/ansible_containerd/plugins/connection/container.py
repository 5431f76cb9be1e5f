# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: container
short_description: Run tasks in containers of this machine
version_added: 0.1.0
description:
  - Tasks run inside a container that the Tricorn agent of the controller's own machine runs. Commands are processes
    that the agent starts there, files are copied by the agent itself, of any size and without a program in the
    container.
  - The container has to run. Modules need a Python in it, M(ansible.builtin.raw) a shell only.
notes:
  - Nothing asks for passwords in a container. For another user than that of the container there are
    O(remote_user), and P(tricorn.containerd.container_user#become) for single tasks.
seealso:
  - plugin: tricorn.containerd.container_ssh
    plugin_type: connection
  - plugin: tricorn.containerd.containers
    plugin_type: inventory
extends_documentation_fragment:
  - connection_pipelining
  - tricorn.containerd.container
options:
  container:
    vars:
      - name: inventory_hostname
      - name: ansible_host
      - name: ansible_tricorn_container
  remote_user:
    description:
      - User or number, with or without C(:group), that commands run as. The container's own when left out.
    type: str
    vars:
      - name: ansible_user
      - name: ansible_tricorn_user
    keyword:
      - name: remote_user
  pipelining:
    default: true
"""

EXAMPLES = r"""
- name: Take the container into the inventory
  ansible.builtin.add_host:
    name: web
    groups: containers
    ansible_connection: tricorn.containerd.container
    ansible_tricorn_namespace: shop
- name: Ask its shell
  delegate_to: web
  ansible.builtin.raw: uname -n
  changed_when: false
"""

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError
from ansible_collections.tricorn.containerd.plugins.plugin_utils import _stream
from ansible_collections.tricorn.containerd.plugins.plugin_utils._container import InContainer


class Connection(InContainer, ConnectionBase):
    transport = "tricorn.containerd.container"

    def _connect(self):
        return self

    def agent(self):
        """Return a stream to the agent, to be closed."""
        return self._open()

    def _open(self):
        try:
            return _stream.local(self.get_option("socket"), self.get_option("agent_timeout"))
        except AgentError as error:
            raise AnsibleConnectionFailure(
                "%s (hint: ansible_tricorn_socket names it; for containers of other machines there is the "
                "connection tricorn.containerd.container_ssh)" % error
            ) from None

    def _who(self):
        return self.get_option("remote_user") or ""

    def reset(self):
        """Nothing is kept between commands."""

    def close(self):
        self._connected = False
