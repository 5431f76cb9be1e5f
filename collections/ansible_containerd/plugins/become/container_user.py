# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: container_user
short_description: Another user of a container
version_added: 0.1.0
author:
  - Tricorn authors (@tricorn)
description:
  - The agent runs the command as another user of the container. Neither sudo nor su need to be there, and no password
    is asked for.
  - Only P(tricorn.containerd.container#connection) and P(tricorn.containerd.container_ssh#connection) can do this;
    commands fail with other connections.
options:
  become_user:
    description: User or number, with or without C(:group).
    type: str
    default: root
    ini:
      - section: privilege_escalation
        key: become_user
    env:
      - name: ANSIBLE_BECOME_USER
    vars:
      - name: ansible_become_user
    keyword:
      - name: become_user
"""

EXAMPLES = r"""
- name: Write as the user of the application
  delegate_to: web
  become: true
  become_method: tricorn.containerd.container_user
  become_user: app
  ansible.builtin.raw: id -un
  changed_when: false
"""

import shlex

from ansible.plugins.become import BecomeBase
from ansible_collections.tricorn.containerd.plugins.plugin_utils._container import BECOME


class BecomeModule(BecomeBase):
    name = "tricorn.containerd.container_user"
    pipelining = True

    def build_become_command(self, cmd, shell):
        """Return the command with a mark that the connection takes away."""
        super().build_become_command(cmd, shell)
        return "%s %s %s" % (BECOME, shlex.quote(self.get_option("become_user") or "root"), cmd) if cmd else cmd
