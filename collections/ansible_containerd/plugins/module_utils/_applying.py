# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What apply says to the agent: the options of other modules' tasks, all in one body."""

from __future__ import annotations

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tricorn.containerd.plugins.module_utils import _desired
from ansible_collections.tricorn.containerd.plugins.module_utils._answers import plan
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, request

# What only a task of its own can have: where the agent is, and what isn't a state.
_OWN = ("socket", "timeout", "namespace", "force", "verify")


def apply(options, check_mode):
    namespaces = options["namespaces"] or []
    body = {
        "namespaces": dict((each["name"], _namespace(each)) for each in namespaces),
        "networks": dict(_network(each) for each in options["networks"] or []),
        "parallel": options["parallel"],
    }
    if len(body["namespaces"]) < len(namespaces):
        raise AgentError("namespaces: a name is there twice")
    (response,) = yield [request("PUT", "apply", query=plan(check_mode), body=body)]
    change = response.result()
    result = {"changed": change["changed"], "actions": change["actions"], "changes": change["after"]}
    result["diff"] = {
        "before": change["before"], "after": change["after"], "before_header": "node", "after_header": "node",
    }
    if change.get("warnings"):
        result["warnings"] = change["warnings"]
    return result


def _namespace(options):
    where = "namespaces.%s" % options["name"]
    containers = [_validated("container", each, where) for each in options["containers"] or []]
    body = {
        "labels": _desired.texts(where + ".labels", options["labels"] or {}),
        "images": [_image(each, where) for each in options["images"] or []],
        "containers": dict((each["name"], _container(each, where)) for each in containers),
        "prune": options["prune"],
    }
    if len(body["containers"]) < len(containers):
        raise AgentError("%s.containers: a name is there twice" % where)
    return body


def _validated(module, given, where):
    """Return an entry with the defaults and types of the options of C(module)."""
    from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES

    rules = dict(MODULES[module])
    rules["argument_spec"] = dict((key, value) for key, value in rules["argument_spec"].items() if key not in _OWN)
    validation = ArgumentSpecValidator(**rules).validate(given)
    if validation.error_messages:
        raise AgentError("%s.%ss: %s" % (where, module, validation.errors.msg))
    return validation.validated_parameters


def _image(given, where):
    options = _validated("image", given, where)
    return dict(_desired.image(options), state="absent" if options["state"] == "absent" else "present")


def _container(options, where):
    if options["state"] == "restarted":
        raise AgentError("%s.containers: restarted is no state that can be kept" % where)
    if options["image"] is None and options["state"] != "absent":
        raise AgentError("%s.containers: %s has no image" % (where, options["name"]))
    return dict({"image": ""}, **_desired.container(options))


def _network(given):
    options = _validated("network", given, "networks")
    return options["name"], _desired.network(options)
