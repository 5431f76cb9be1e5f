# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Attributes of every module
    DOCUMENTATION = r"""
attributes:
  action:
    description: The controller holds the conversation with the agent; the module runs only where it cannot.
    support: full
    details:
      - Requests travel over the task's own connection, which takes about a tenth of a module's time.
      - With C(async), and with connection or become plugins that cannot pipeline, the module runs on the node.
  action_group:
    description: Use C(group/tricorn.containerd.node) in C(module_defaults) to set options of all modules.
    support: full
    membership:
      - tricorn.containerd.node
  async:
    description: Can be used with the C(async) keyword.
    support: full
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: Linux
"""

    # Modules that bring about a desired state
    DESIRED = r"""
attributes:
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: full
    details:
      - The agent plans the change and returns the plan in RV(ignore:actions).
  diff_mode:
    description: Returns what has changed, or would change in check mode.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
"""

    # Modules that only look
    INFO = r"""
attributes:
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: full
    details:
      - This module does not change anything.
  diff_mode:
    description: Returns what has changed, or would change in check mode.
    support: N/A
    details:
      - This module does not change anything.
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
"""
