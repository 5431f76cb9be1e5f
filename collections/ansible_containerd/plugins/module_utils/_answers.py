# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What conversations make of the agent's answers: one shape for every module's result."""

from __future__ import annotations

from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, request


def plan(check_mode):
    """Return the query that makes a request a plan."""
    return [("plan", "true")] if check_mode else []


def changed(change, kind, name):
    """Return the module result for the agent's C(Change) of an object."""
    before, after = change.get("before") or {}, change.get("after") or {}
    result = {
        "changed": change["changed"],
        "actions": change.get("actions", []),
        "diff": {
            "before": before,
            "after": after,
            "before_header": "%s %s" % (kind, name),
            "after_header": "%s %s" % (kind, name),
        },
        kind: after,
    }
    if change.get("warnings"):
        result["warnings"] = change["warnings"]
    return result


def removed(response, kind, name):
    """Return the module result of a C(DELETE); what isn't there needs no removal."""
    return changed({"changed": False} if response.missing else response.result(), kind, name)


def require_open(container):
    """Refuse to stop a container that a cordoned node wouldn't start again; an older agent has no cordon."""
    (response,) = yield [request("GET", "node", "cordon")]
    if not response.missing and response.result()["cordoned"]:
        raise AgentError(
            "container %s is not restarted: this node is cordoned (%s), it would not start it again"
            " (hint: tricorn.containerd.cordon with state=absent opens it)" % (container, response.result()["reason"])
        )


def look_up(place, names, filters, kind):
    """Look names up one by one, all in one delivery, or list what the filters match."""
    if names is not None:
        responses = yield [request("GET", *(place + (name,))) for name in names]
        found = [response.result() for response in responses if not response.missing]
        exists = len(found) == len(responses)
    else:
        (response,) = yield [request("GET", *place, query=[("filter", text) for text in filters or ()])]
        found = response.result()["items"]
        exists = bool(found)
    return {"changed": False, "exists": exists, kind: found}
