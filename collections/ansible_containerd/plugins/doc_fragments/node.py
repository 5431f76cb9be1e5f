# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Options of every module
    DOCUMENTATION = r"""
options:
  socket:
    description:
      - Path of the agent's unix socket on the node.
    type: path
    default: /run/tricorn/tricorn.sock
  timeout:
    description:
      - Seconds that the agent may take for one request of the task; V(0) means no bound.
      - When the time is up the task fails, and the agent stops the work that it was asked for.
    type: float
    default: 600
requirements:
  - A running Tricorn agent on the node, see the role P(tricorn.containerd.agent#role).
author:
  - Tricorn authors (@tricorn)
"""

    # The namespace of images and containers
    NAMESPACE = r"""
options:
  namespace:
    description:
      - Namespace of the agent. Namespaces share nothing but content.
    type: str
    default: default
"""

    # Who somebody is at a registry
    LOGIN = r"""
options:
  registry_username:
    description:
      - User at the registry.
    type: str
  registry_password:
    description:
      - Password at the registry. It serves this one task and is stored nowhere.
    type: str
"""

    # Where an image comes from
    SOURCE = r"""
options:
  pull:
    description:
      - When to ask the registry for the image.
      - V(missing) asks for it when the node doesn't have it, V(always) asks whether there is a newer one,
        V(never) fails when the node doesn't have it.
    type: str
    choices: [missing, always, never]
    default: missing
  platform:
    description:
      - Platform of the image, such as V(linux/arm64). The node's own when left out.
    type: str
  plain_http:
    description:
      - Talk to the registry without TLS.
    type: bool
    default: false
  snapshotter:
    description:
      - The snapshotter that holds the unpacked image. The agent's default when left out.
    type: str
"""

    # Options of the modules that look objects up
    LOOKUP = r"""
options:
  name:
    description:
      - Names to look up; what doesn't exist is missing from the answer, which RV(ignore:exists) tells.
      - Mutually exclusive with O(filters). Without both, everything in the namespace is returned.
    type: list
    elements: str
    aliases: [names]
  filters:
    description:
      - Filters in containerd's syntax, such as V(labels.app==web). Something is returned when any of them matches.
    type: list
    elements: str
"""

    # What a dump of processes may reach beyond the container
    DUMP = r"""
options:
  external_unix_sockets:
    description:
      - Allow unix sockets whose other end is outside of the container.
    type: bool
    default: false
  shell_job:
    description:
      - Allow processes on a terminal of somebody outside.
    type: bool
    default: false
"""
