# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks the agent's program over the task's own connection, in a fraction of a module's time."""

from __future__ import annotations

import shlex

from ansible.module_utils.common.parameters import remove_values
from ansible_collections.tricorn.containerd.plugins.module_utils import _node_config
from ansible_collections.tricorn.containerd.plugins.plugin_utils._relay import RelayAction, _validated


def texts(values):
    """Return the secrets that must be shown nowhere."""
    return [str(value) for value in values.values() if value]


class ActionModule(RelayAction):
    def run(self, tmp=None, task_vars=None):
        if not self._can_relay():
            return self._as_module(task_vars or {})
        options = _validated("node_config", self._task.args)
        words = _node_config.command(options, self._task.check_mode)
        line = " ".join(shlex.quote(word) for word in words)
        done = self._low_level_execute_command(line, in_data=_node_config.document(options).encode(), executable="/bin/sh")
        result = _node_config.result(options, done["rc"], done["stdout"], done.get("stderr", ""))
        if not self._task.diff:
            result.pop("diff", None)
        shown = dict(options, secrets=dict((name, "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER") for name in options["secrets"]))
        result["invocation"] = {"module_args": shown}
        return remove_values(result, texts(options["secrets"]))
