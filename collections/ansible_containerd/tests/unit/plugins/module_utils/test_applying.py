# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tricorn.containerd.plugins.module_utils import _applying
from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, Response

CHANGE = {
    "changed": True, "actions": [{"verb": "create"}], "before": {"containers": {"n/c": {}}},
    "after": {"containers": {"n/c": {"id": "c"}}}, "warnings": ["slow"],
}


def run(check_mode=False, **given):
    """Converse with an agent of one answer; return the result and the request."""
    validation = ArgumentSpecValidator(**MODULES["apply"]).validate(given)
    assert not validation.error_messages
    conversation = _applying.apply(validation.validated_parameters, check_mode)
    (asked,) = next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send([Response(200, CHANGE)])
    return end.value.value, asked


def test_a_whole_node_in_one_body():
    containers = [
        {"name": "c", "image": "i", "command": "a 'b c'", "resources": {"memory": "64m"}, "network": "back"},
        {"name": "d", "state": "absent"},
    ]
    images = [{"name": "i", "state": "latest"}, {"name": "j", "state": "absent"}]
    result, asked = run(
        True, networks=[{"name": "back", "subnet": "10.9.0.0/24"}], parallel=2,
        namespaces=[{"name": "n", "labels": {"a": 1}, "images": images, "containers": containers, "prune": True}],
    )
    assert ("%s %s" % (asked.method, asked.path), asked.query) == ("PUT /v1/apply", [("plan", "true")])
    held = asked.body["namespaces"]["n"]
    assert (held["labels"], held["prune"], asked.body["parallel"]) == ({"a": "1"}, True, 2)
    assert [(image["reference"], image["state"], image["pull"]) for image in held["images"]] == [
        ("i", "present", "always"), ("j", "absent", "missing"),
    ]
    made = held["containers"]["c"]
    assert (made["args"], made["resources"], made["state"]) == (["a", "b c"], {"memory": 64 << 20}, "started")
    assert (held["containers"]["d"]["state"], held["containers"]["d"]["image"]) == ("absent", "")
    assert asked.body["networks"]["back"]["subnet"] == "10.9.0.0/24"
    assert (result["changed"], result["changes"], result["warnings"]) == (True, CHANGE["after"], ["slow"])
    assert result["diff"]["before"] == CHANGE["before"]


def test_nothing_is_a_state_too():
    assert run()[1].body == {"namespaces": {}, "networks": {}, "parallel": 4}


@pytest.mark.parametrize(
    "containers, message",
    [
        ([{"name": "c"}], "c has no image"),
        ([{"name": "c", "image": "i", "state": "restarted"}], "restarted"),
        ([{"name": "c", "image": "i"}, {"name": "c", "image": "j"}], "twice"),
        ([{"name": "c", "image": "i", "force": True}], "namespaces.n.containers: .*force"),
        ([{"name": "c", "image": "i", "socket": "/s"}], "socket"),
    ],
)
def test_what_is_no_state_is_refused_by_name(containers, message):
    with pytest.raises(AgentError, match=message):
        run(namespaces=[{"name": "n", "containers": containers}])


def test_a_namespace_has_one_description():
    with pytest.raises(AgentError, match="twice"):
        run(namespaces=[{"name": "n"}, {"name": "n"}])
