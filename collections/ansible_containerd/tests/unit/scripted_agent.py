# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An agent that answers as a test has written down."""

from __future__ import annotations

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES
from ansible_collections.tricorn.containerd.plugins.module_utils._client import Response
from ansible_collections.tricorn.containerd.plugins.module_utils._conversation import CONVERSATIONS, converse

MISSING = Response(404, {"code": "NotFound", "detail": "not found"})


def run(module, *responses, **given):
    """Converse with an agent that answers as scripted; return the result and the requests."""
    check_mode = given.pop("check_mode", False)
    validation = ArgumentSpecValidator(**MODULES[module]).validate(given)
    assert not validation.error_messages
    asked, script = [], list(responses)

    def deliver(requests):
        assert requests, "a relay that is sent nothing waits forever"
        asked.extend(requests)
        return [script.pop(0) for dummy in requests]

    result = converse(CONVERSATIONS[module](validation.validated_parameters, check_mode), deliver)
    assert not script
    return result, asked
