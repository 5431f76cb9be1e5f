# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a module runs on the node: options in, conversation over the socket, result out."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, exchange, parse
from ansible_collections.tricorn.containerd.plugins.module_utils._conversation import CONVERSATIONS, converse

GRACE = 10  # seconds that the agent has beyond 'timeout' to tell that the time was up


def patience(options):
    """Return the seconds to wait for an answer, 0 for no bound."""
    return options["timeout"] + GRACE if options["timeout"] else 0


def over_socket(options):
    """Return the C(deliver) of C(converse) that talks to the socket on this very machine."""

    def deliver(requests):
        return [parse(exchange(options["socket"], message.encode(), patience(options))) for message in requests]

    return deliver


def failure(error):
    """Return the result of a task for an C(AgentError)."""
    result = {"failed": True, "msg": str(error)}
    if error.document:
        result["error"] = error.document
    return result


def run(name):
    """Be the module C(name)."""
    module = AnsibleModule(supports_check_mode=True, **MODULES[name])
    try:
        result = converse(CONVERSATIONS[name](module.params, module.check_mode), over_socket(module.params))
    except AgentError as error:
        result = failure(error)
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    if not module._diff:
        result.pop("diff", None)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)
