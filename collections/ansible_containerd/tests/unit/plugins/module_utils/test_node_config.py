# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tricorn.containerd.plugins.module_utils import _node_config
from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES


def options(**given):
    validation = ArgumentSpecValidator(**MODULES["node_config"]).validate(given)
    assert not validation.error_messages
    return validation.validated_parameters


ANSWER = {
    "changed": True, "file": "/c/conf.d/a.toml", "before": {}, "after": {"log_level": "debug"}, "secrets": ["r"],
    "reload": ["log_level"], "restart": ["logs"],
}


def test_the_program_is_told_on_its_standard_input():
    chosen = options(name="a", settings={"log_level": "debug"}, secrets={"r": "hush", "old": None})
    words = ["/usr/local/bin/tricornd", "--config", "/etc/tricorn/config.toml", "config", "put", "a"]
    assert _node_config.command(chosen, False) == words + ["--reload"]
    assert _node_config.command(chosen, True) == words + ["--plan"]
    assert _node_config.command(dict(chosen, reload=False), False) == words
    assert json.loads(_node_config.document(chosen)) == {
        "state": "present", "settings": {"log_level": "debug"}, "secrets": {"r": "hush", "old": None},
    }


@pytest.mark.parametrize("reload", [True, False])
def test_the_answer_tells_what_waits(reload):
    result = _node_config.result(options(reload=reload), 0, "Welcome!\n" + json.dumps(ANSWER), "")
    assert (result["changed"], result["restart_required"], result["reload_required"]) == (True, True, not reload)
    assert (result["reload_keys"], result["restart_keys"]) == (["log_level"], ["logs"])
    assert result["diff"]["before"] == {"(secrets)": {"r": "as they were"}}
    assert result["diff"]["after"] == {"log_level": "debug", "(secrets)": {"r": "changed"}}


@pytest.mark.parametrize(
    "code, output, errors, message",
    [
        (2, "", "tricornd: logs.files: 0 is out of range\n", "tricornd: logs.files: 0 is out of range"),
        (127, "", "not found", "option 'program'"),
        (1, "", "", "status 1"),
        (0, "hello", "", "did not answer with JSON"),
        (0, "{hello", "", "did not answer with JSON"),
    ],
)
def test_failures_say_why(code, output, errors, message):
    result = _node_config.result(options(), code, output, errors)
    assert result["failed"]
    assert message in result["msg"]
