# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Options of every connection into containers
    DOCUMENTATION = r"""
options:
  container:
    description:
      - Name of the container.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_tricorn_container
  namespace:
    description:
      - The agent's namespace that the container is in.
    type: str
    default: default
    vars:
      - name: ansible_tricorn_namespace
  socket:
    description:
      - Path of the agent's unix socket on the machine that the container runs on.
    type: str
    default: /run/tricorn/tricorn.sock
    vars:
      - name: ansible_tricorn_socket
  agent_timeout:
    description:
      - Seconds that the agent may be silent before a command has started, and while files are copied. V(0) means no
        bound. Commands may run as long as they like.
    type: float
    default: 120
    vars:
      - name: ansible_tricorn_timeout
author:
  - Tricorn authors (@tricorn)
"""
