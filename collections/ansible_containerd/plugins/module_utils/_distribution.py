# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules of images in motion, of what keeps content and of its collection say to the agent."""

from __future__ import annotations

from ansible_collections.tricorn.containerd.plugins.module_utils import _desired
from ansible_collections.tricorn.containerd.plugins.module_utils._answers import changed, look_up, plan, removed
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, request


def verified(options):
    """Ask the node's image policy; return its answer, or fail unless one of its rules allows the image."""
    body = _desired.registry(options)
    body["reference"] = options["name"]
    (response,) = yield [request("POST", options["namespace"], "policy", "check", body=body)]
    answer = response.result()
    if not answer["allowed"]:
        hint = " (hint: %s)" % answer["remedy"] if answer.get("remedy") else ""
        raise AgentError("The image policy refuses %s: %s%s" % (options["name"], answer["reason"], hint), answer)
    if not answer["rule"]:
        raise AgentError(
            "verify: no rule of the node's image policy speaks of %s (hint: write one, or leave the option out)"
            % options["name"],
            answer,
        )
    return answer


def require_verified(name, policy, image):
    """Fail if what is on the node isn't what the policy was asked about: a name may stand for another image now."""
    here, asked = image.get("digest"), policy.get("digest")
    if here and asked and here != asked:
        raise AgentError(
            "verify: %s on the node is %s, and verified was %s (hint: state=latest brings that)" % (name, here, asked),
            policy,
        )


def image_push(options, check_mode):
    body = _desired.registry(options)
    body.update(_desired.given({key: options[key] for key in ("reference", "platform")}))
    place = (options["namespace"], "images", options["name"], "push")
    (response,) = yield [request("PUT", *place, query=plan(check_mode), body=body)]
    return changed(response.result(), "image", options["reference"] or options["name"])


def image_tag(options, check_mode):
    body = {"references": options["tags"], "force": options["force"]}
    place = (options["namespace"], "images", options["name"], "tags")
    (response,) = yield [request("PUT", *place, query=plan(check_mode), body=body)]
    result = changed(response.result(), "image", options["name"])
    result["names"] = result.pop("image").get("names", {})
    return result


def image_export(options, check_mode):
    body = _desired.given({"path": options["dest"], "images": options["names"], "platform": options["platform"]})
    body["all_platforms"] = options["all_platforms"]
    query = plan(check_mode)
    (response,) = yield [request("PUT", options["namespace"], "archive", "export", query=query, body=body)]
    return changed(response.result(), "archive", options["dest"])


def image_import(options, check_mode):
    keys = ("base_name", "platform", "all_platforms", "unpack", "compress")
    body = _desired.given({key: options[key] for key in keys})
    body["path"] = options["src"]
    query = plan(check_mode)
    (response,) = yield [request("PUT", options["namespace"], "archive", "import", query=query, body=body)]
    result = changed(response.result(), "archive", options["src"])
    result["images"] = result.pop("archive").get("images", {})
    return result


def content_info(options, check_mode):
    return (yield from look_up((options["namespace"], "content"), options["digest"], options["filters"], "content"))


def content(options, check_mode):
    body = {"state": options["state"], "labels": _labels(options)}
    place = (options["namespace"], "content", options["digest"])
    (response,) = yield [request("PUT", *place, query=plan(check_mode), body=body)]
    return changed(response.result(), "content", options["digest"])


def _labels(options):
    """Return the labels to set, that of what is kept for its own sake among them; an empty value removes one."""
    labels = _desired.texts("labels", options["labels"] or {})
    if options["keep"] is not None:
        labels["containerd.io/gc.root"] = "true" if options["keep"] else ""
    return labels


def snapshot_info(options, check_mode):
    query = [("filter", text) for text in options["filters"] or ()]
    if options["snapshotter"] is not None:
        query.append(("snapshotter", options["snapshotter"]))
    (response,) = yield [request("GET", options["namespace"], "snapshots", query=query)]
    found = response.result()["items"]
    return {"changed": False, "exists": bool(found), "snapshots": found}


def snapshot(options, check_mode):
    body = _desired.given({key: options[key] for key in ("state", "parent", "source", "lease")})
    body["labels"] = _labels(options)
    place = (options["namespace"], "snapshots", options["snapshotter"], options["key"])
    (response,) = yield [request("PUT", *place, query=plan(check_mode), body=body)]
    return changed(response.result(), "snapshot", options["key"])


def namespace(options, check_mode):
    place = ("namespaces", options["name"])
    if options["state"] == "absent":
        (response,) = yield [request("DELETE", *place, query=plan(check_mode))]
        return removed(response, "namespace", options["name"])
    body = {"labels": _desired.texts("labels", options["labels"] or {})}
    (response,) = yield [request("PUT", *place, query=plan(check_mode), body=body)]
    return changed(response.result(), "namespace", options["name"])


def namespace_info(options, check_mode):
    return (yield from look_up(("namespaces",), options["name"], options["filters"], "namespaces"))


def lease(options, check_mode):
    body = {"state": options["state"], "renew": options["renew"]}
    body.update(_desired.given({"expire_seconds": options["expires_in"], "resources": options["resources"]}))
    if options["labels"] is not None:
        body["labels"] = _desired.texts("labels", options["labels"])
    place = (options["namespace"], "leases", options["name"])
    (response,) = yield [request("PUT", *place, query=plan(check_mode), body=body)]
    return changed(response.result(), "lease", options["name"])


def lease_info(options, check_mode):
    """Leases come with what they hold, which takes a second round."""
    place = (options["namespace"], "leases")
    result = yield from look_up(place, options["name"], options["filters"], "leases")
    responses = yield [request("GET", *(place + (found["id"], "resources"))) for found in result["leases"]]
    for found, response in zip(result["leases"], responses):
        found["resources"] = [] if response.missing else response.result()["items"]
    return result


def network(options, check_mode):
    body = _desired.network(options)
    (response,) = yield [request("PUT", "networks", options["name"], query=plan(check_mode), body=body)]
    return changed(response.result(), "network", options["name"])


def network_info(options, check_mode):
    return (yield from look_up(("networks",), options["name"], options["filters"], "networks"))


def gc(options, check_mode):
    (response,) = yield [request("POST", "gc", query=[("dry_run", "true")] if check_mode else [])]
    report = response.result()
    went = sorted(report["removed"], key=lambda each: (each["namespace"], each["type"], each["key"]))
    lines = ["%s: %s %s" % (each["namespace"], each["type"], each["key"]) for each in went]
    return {
        "changed": bool(went),
        "removed": went,
        "bytes": report["bytes"],
        "seconds": report["seconds"],
        "diff": {
            "before": "".join(line + "\n" for line in lines),
            "after": "",
            "before_header": "what nothing keeps",
            "after_header": "what nothing keeps",
        },
    }
