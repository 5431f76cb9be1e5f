# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each module says to the agent, without a word on how it gets there.

A conversation is a generator. It yields lists of requests that may travel together, is sent the list of their
responses, and returns the module's result. Whether something changes is decided by the agent alone: check mode
is its C(plan=true), the diff is the C(before) and C(after) of its answer.
"""

from __future__ import annotations

from ansible_collections.tricorn.containerd.plugins.module_utils import _applying, _copying, _desired, _distribution
from ansible_collections.tricorn.containerd.plugins.module_utils._answers import changed, look_up, plan, removed, require_open
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, request
from ansible_collections.tricorn.containerd.plugins.module_utils._observing import OBSERVING_CONVERSATIONS
from ansible_collections.tricorn.containerd.plugins.module_utils._tasks import TASK_CONVERSATIONS


def converse(conversation, deliver):
    """Drive a conversation with C(deliver), which turns a list of requests into the list of their responses."""
    responses = None
    while True:
        try:
            requests = conversation.send(responses)
        except StopIteration as end:
            return end.value
        # Nothing to ask is no reason to go to the node: ssh would wait for words that never come.
        responses = deliver(requests) if requests else []


def image(options, check_mode):
    namespace, name = options["namespace"], options["name"]
    if options["state"] == "absent":
        (response,) = yield [request("DELETE", namespace, "images", name, query=plan(check_mode))]
        return removed(response, "image", name)
    policy = (yield from _distribution.verified(options)) if options["verify"] else None
    body = _desired.image(options)
    (response,) = yield [request("PUT", namespace, "images", query=plan(check_mode), body=body)]
    result = changed(response.result(), "image", name)
    if policy is not None:
        _distribution.require_verified(name, policy, result["image"])
        result["policy"] = policy
    return result


def container(options, check_mode):
    namespace, name, state = options["namespace"], options["name"], options["state"]
    place = (namespace, "containers", name)
    if state == "absent":
        query = plan(check_mode)
        if options["force"]:
            query.append(("force", "true"))
            if options["stop_timeout"] is not None:
                query.append(("stop_timeout", "%g" % options["stop_timeout"]))
        (response,) = yield [request("DELETE", *place, query=query)]
        return removed(response, "container", name)
    if options["image"] is None:
        result, verbs = yield from _as_it_is(place, state)
    else:
        body = dict(_desired.container(options), state="started" if state == "restarted" else state)
        (response,) = yield [request("PUT", *place, query=plan(check_mode), body=body)]
        result = changed(response.result(), "container", name)
        started = any(action["verb"] == "start" for action in result["actions"])
        verbs = ["stop", "start"] if state == "restarted" and not started else []
    yield from _perform(place, verbs, options["stop_timeout"], result, check_mode)
    return result


def _as_it_is(place, state):
    """Return the result and the verbs that bring an existing container into a state, whatever it is made of."""
    (response,) = yield [request("GET", *place)]
    if response.missing:
        raise AgentError("There is no container %r (hint: with the option 'image' it would be created)" % place[-1])
    summary = _summary(response.result())
    running = summary["status"] in ("running", "paused")
    stop, start = ["stop"] * running, ["start"]
    verbs = {"started": start * (not running), "stopped": stop, "restarted": stop + start}[state]
    return changed({"changed": False, "before": summary, "after": summary}, "container", place[-1]), verbs


def cordon(options, check_mode):
    if options["state"] == "absent":
        message = request("DELETE", "node", "cordon", query=plan(check_mode))
    else:
        message = request("PUT", "node", "cordon", query=plan(check_mode), body={"reason": options["reason"]})
    (response,) = yield [message]
    return changed(response.result(), "cordon", "node")


def _perform(place, verbs, stop_timeout, result, check_mode):
    """Stop and start a container, and tell so in the result."""
    if "stop" in verbs and "start" in verbs and not check_mode:
        yield from require_open(place[-1])
    bodies = {"stop": _desired.given({"timeout": stop_timeout}), "start": None}
    for verb in verbs:
        result["changed"] = True
        result["actions"].append({"verb": verb, "object": "container/" + place[-1], "reason": "asked for"})
        if not check_mode:
            (response,) = yield [request("POST", *(place + (verb,)), body=bodies[verb])]
            result["container"] = result["diff"]["after"] = _summary(response.result())


def _summary(view):
    """Return a container as the agent's changes show it: what was asked for, and the state."""
    task = view.get("task") or {}
    summary = dict((key, value) for key, value in view["desired"].items() if value not in (None, "", [], {}, False))
    summary.update((key, view[key]) for key in ("id", "namespace", "image", "image_digest", "runtime"))
    summary.update(status=task.get("status", "created"), pid=task.get("pid", 0))
    return summary


def image_info(options, check_mode):
    return (yield from _info(options, "images"))


def container_info(options, check_mode):
    return (yield from _info(options, "containers"))


def _info(options, kind):
    return (yield from look_up((options["namespace"], kind), options["name"], options["filters"], kind))


def node_info(options, check_mode):
    version, info = yield [request("GET", "version"), request("GET", "info")]
    return {"changed": False, "version": version.result(), "node": info.result()}


def container_exec(options, check_mode):
    body = _desired.process(options)
    result = {"changed": False, "cmd": body["args"], "rc": 0, "stdout": "", "stderr": ""}
    done = yield from _done_already(options)
    if done:
        result["msg"] = done
    elif options["detach"]:
        yield from _detached(options, body, check_mode, result)
    elif check_mode:
        conditional = options["creates"] is not None or options["removes"] is not None
        result.update(msg="Command would have run if not in check mode", changed=conditional, skipped=not conditional)
    else:
        (response,) = yield [_execution(options, body)]
        _executed(response.result(), options, result)
    for stream in ("stdout", "stderr"):
        result[stream + "_lines"] = result[stream].splitlines()
    return result


def _detached(options, body, check_mode, result):
    """Have a command go on by itself, unless one of the same id does so already."""
    execs = (options["namespace"], "containers", options["container"], "execs")
    if options["exec_id"]:
        (found,) = yield [request("GET", *(execs + (options["exec_id"],)))]
        if not found.missing:
            view = found.result()
            if view["status"] != "stopped":
                result.update(exec_id=view["id"], pid=view["pid"], msg="Did not run command since '%s' runs" % view["id"])
                return
            if not check_mode:
                (response,) = yield [request("DELETE", *(execs + (view["id"],)))]
                response.result()
    result["changed"] = True
    if check_mode:
        result["msg"] = "Command would have run if not in check mode"
        return
    (response,) = yield [request("POST", *execs, body=_desired.detached(options, body))]
    view = response.result()
    result.update(exec_id=view["id"], pid=view["pid"])


def _execution(options, body):
    return request("POST", options["namespace"], "containers", options["container"], "exec", body=body)


def _done_already(options):
    """Return why the command need not run, or None: the paths are looked up inside the container."""
    for option, unwanted, message in (
        ("creates", 0, "Did not run command since '%s' exists"),
        ("removes", 1, "Did not run command since '%s' does not exist"),
    ):
        if options[option] is not None:
            (response,) = yield [_execution(options, {"args": ["test", "-e", options[option]]})]
            outcome = response.result()
            if outcome["exit_code"] not in (0, 1):
                raise AgentError("%s: the container has no usable 'test' program: %s" % (option, outcome["stderr"].strip()))
            if outcome["exit_code"] == unwanted:
                return message % options[option]
    return None


def _executed(outcome, options, result):
    """Put what the process did into the result of container_exec."""
    result.update(
        changed=True,
        failed=False,  # else Ansible takes any other code than 0 for a failure
        rc=outcome["exit_code"],
        stdout=outcome["stdout"],
        stderr=outcome["stderr"],
        delta=outcome["duration"],
        timed_out=outcome["timed_out"],
        truncated=outcome["truncated"],
    )
    if outcome["truncated"]:
        result["warnings"] = ["The output was longer than the agent keeps; its end is missing"]
    if outcome["timed_out"]:
        result.update(failed=True, msg="The command was killed after %g seconds" % options["timeout"])
    elif outcome["exit_code"] and options["fail_on_rc"]:
        result.update(failed=True, msg="non-zero return code")


CONVERSATIONS = {
    "image": image,
    "image_info": image_info,
    "image_push": _distribution.image_push,
    "image_tag": _distribution.image_tag,
    "image_export": _distribution.image_export,
    "image_import": _distribution.image_import,
    "container": container,
    "container_info": container_info,
    "container_exec": container_exec,
    "content": _distribution.content,
    "content_info": _distribution.content_info,
    "snapshot": _distribution.snapshot,
    "snapshot_info": _distribution.snapshot_info,
    "namespace": _distribution.namespace,
    "namespace_info": _distribution.namespace_info,
    "lease": _distribution.lease,
    "lease_info": _distribution.lease_info,
    "network": _distribution.network,
    "network_info": _distribution.network_info,
    "gc": _distribution.gc,
    "cordon": cordon,
    "node_info": node_info,
}
CONVERSATIONS["apply"] = _applying.apply
CONVERSATIONS["container_copy"] = _copying.container_copy
CONVERSATIONS.update(OBSERVING_CONVERSATIONS)
CONVERSATIONS.update(TASK_CONVERSATIONS)
