# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules of tasks and checkpoints say to the agent."""

from __future__ import annotations

from ansible_collections.tricorn.containerd.plugins.module_utils import _desired
from ansible_collections.tricorn.containerd.plugins.module_utils._answers import changed, look_up, require_open
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, Request, request

_GONE = ("created", "stopped")  # what runs nothing

# What it takes to get from a task's status to a state.
_VERBS = {
    "running": {"paused": ["resume"], "created": ["start"], "stopped": ["start"]},
    "stopped": {"running": ["stop"], "paused": ["stop"]},
    "paused": {"running": ["pause"]},
    "killed": {"running": ["kill"], "paused": ["kill"]},
    "restarted": {
        "running": ["stop", "start"], "paused": ["stop", "start"], "created": ["start"], "stopped": ["start"],
    },
}


def task(options, check_mode):
    place = (options["namespace"], "containers", options["container"])
    (response,) = yield [request("GET", *place)]
    if response.missing:
        raise AgentError(
            "There is no container %r (hint: tricorn.containerd.container makes one)" % options["container"],
            response.document,
        )
    view = response.result()
    before = _state(view)
    limits = _limits(view, options)
    wanted, status = options["state"], before["status"]
    if wanted == "paused" and status in _GONE:
        raise AgentError("Container %r does not run: there is nothing to pause" % options["container"])
    verbs = _VERBS["running" if wanted == "healthy" else wanted].get(status, [])
    after = dict(before)
    if check_mode:
        after.update(_expected(verbs, options))
    else:
        if "stop" in verbs and "start" in verbs:
            yield from require_open(options["container"])
        after = (yield from _perform(place, verbs, options)) or after
        if limits:
            (response,) = yield [request("POST", *(place + ("update",)), body=limits)]
            response.result()
        if wanted == "healthy":
            after = yield from _until_healthy(place, options)
    actions = [{"verb": verb, "object": "task/" + place[-1], "reason": "it is %s" % status} for verb in verbs]
    if limits:
        actions.append({"verb": "update", "object": "task/" + place[-1], "reason": ", ".join(sorted(limits))})
        had = view["desired"].get("resources") or {}
        before["resources"] = {key: had.get(key) for key in limits}
        after["resources"] = limits
    change = {"changed": bool(actions), "actions": actions, "before": before, "after": after}
    return changed(change, "task", options["container"])


def _state(view):
    """Return the task of a container, also of one that has none yet."""
    return dict({"container": view["id"], "status": "created", "pid": 0}, **(view.get("task") or {}))


def _limits(view, options):
    """Return the limits that differ from what the container has; -1 takes one away."""
    if options["resources"] is None:
        return {}
    has = view["desired"].get("resources") or {}
    wanted = _desired.resources(options["resources"])
    return {key: value for key, value in wanted.items() if has.get(key) != (None if value == -1 else value)}


def _expected(verbs, options):
    """Return what can be told of a task before the verbs are performed."""
    if not verbs or verbs == ["kill"] and not options["wait"]:
        return {}
    ends = {"resume": "running", "start": "running", "stop": "stopped", "pause": "paused", "kill": "stopped"}
    return {"status": ends[verbs[-1]]}


def _perform(place, verbs, options):
    """Perform the verbs, and return the task afterwards; None if there are none."""
    view = None
    bodies = {
        "stop": _desired.given({"timeout": options["stop_timeout"]}),
        "kill": {"signal": options["signal"], "all": options["all_processes"]},
    }
    for verb in verbs:
        (response,) = yield [request("POST", *(place + (verb,)), body=bodies.get(verb))]
        view = response.result()
        if verb == "kill":
            if options["wait"]:
                (ended,) = yield [request("GET", *(place + ("wait",)))]
                ended.result()
            (response,) = yield [request("GET", *place)]
            view = response.result()
    return _state(view) if view else None


def _until_healthy(place, options):
    query = [("wait", "true"), ("timeout", "%g" % options["wait_timeout"])]
    (response,) = yield [request("GET", *(place + ("health",)), query=query)]
    response.result()
    (response,) = yield [request("GET", *place)]
    return _state(response.result())


def task_info(options, check_mode):
    found = yield from _containers(options)
    tasks = [_state(view) for view in found.pop("containers") if view.get("task")]
    alive = [each for each in tasks if each["status"] in ("running", "paused")]
    yield from _add(options, alive, "pids", "processes", "pids")
    if options["metrics"]:
        yield from _add(options, alive, "stats", "metrics", None)
    for each in tasks:
        each.setdefault("processes", [])
    return dict(found, tasks=tasks)


def metrics_info(options, check_mode):
    found = yield from _containers(options)
    figures = [{"container": view["id"]} for view in found.pop("containers") if _runs(view)]
    yield from _add(options, figures, "stats", "metrics", None)
    result = dict(found, containers=[each for each in figures if "metrics" in each])
    if options["node"]:
        (response,) = yield [Request("GET", "/metrics", [], None)]
        result["node"] = samples(response.result()["text"])
    return result


def _containers(options):
    place = (options["namespace"], "containers")
    return (yield from look_up(place, options["container"], options["filters"], "containers"))


def _runs(view):
    return (view.get("task") or {}).get("status") in ("running", "paused")


def _add(options, tasks, what, name, key):
    """Add to each task what the agent tells of it; one that has ended meanwhile goes without."""
    responses = yield [request("GET", options["namespace"], "containers", each["container"], what) for each in tasks]
    for each, response in zip(tasks, responses):
        if response.status in (404, 409, 412):
            continue
        each[name] = response.result()[key] if key else response.result()


def samples(text):
    """Return the samples in Prometheus' text format: name, labels and value of each."""
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            head, dummy, value = line.rpartition(" ")
            name, dummy, rest = head.partition("{")
            found.append({"name": name, "labels": _labels(rest.rstrip("}")), "value": float(value)})
    return found


def _labels(text):
    """Return the pairs of C(a="b",c="d"), in whose values quotes and backslashes are escaped."""
    pairs, key, value, inside, escaped = {}, "", "", False, False
    for character in text:
        if escaped:
            value += {"n": "\n"}.get(character, character)
            escaped = False
        elif inside and character == "\\":
            escaped = True
        elif character == '"':
            if inside:
                pairs[key.strip(", =")] = value
                key = value = ""
            inside = not inside
        elif inside:
            value += character
        else:
            key += character
    return pairs


def checkpoint(options, check_mode):
    namespace, name = options["namespace"], options["container"]
    place, image = (namespace, "containers", name), (namespace, "images", options["image"])
    container, there = yield [request("GET", *place), request("GET", *image)]
    before = {} if there.missing else _image(there.result())
    if before and not options["force"]:
        return _checkpointed(False, name, before, before)
    if not _runs(container.result()):
        raise AgentError("Container %r does not run: there is nothing to checkpoint" % name)
    if check_mode:
        return _checkpointed(True, name, before, {"image": options["image"]})
    keys = ("image", "leave_running", "file_locks", "base", "tcp_established", "external_unix_sockets", "shell_job", "rw")
    body = dict({key: options[key] for key in keys}, replace=options["force"])
    (response,) = yield [request("POST", *(place + ("checkpoint",)), body=body)]
    made = response.result()
    return dict(_checkpointed(True, name, before, {"image": made["image"], "digest": made["digest"]}), checkpoint=made)


def _image(view):
    return {"image": view["name"], "digest": view["digest"]}


def _checkpointed(did, name, before, after):
    actions = [{"verb": "checkpoint", "object": "container/" + name, "reason": "asked for"}] if did else []
    return changed({"changed": did, "actions": actions, "before": before, "after": after}, "checkpoint", name)


def restore(options, check_mode):
    namespace, name = options["namespace"], options["container"]
    place = (namespace, "containers", name)
    container, image = yield [request("GET", *place), request("GET", namespace, "images", options["image"])]
    if not container.missing:
        there = _restored(container.result())
        return changed({"changed": False, "before": there, "after": there}, "container", name)
    actions = [{"verb": "restore", "object": "container/" + name, "reason": "no such container"}]
    after = {"id": name, "checkpoint": image.result()["name"], "status": "running"}
    if not check_mode:
        keys = ("image", "file_locks", "tcp_established", "external_unix_sockets", "shell_job", "rw", "lazy")
        body = dict({key: options[key] for key in keys}, id=name)
        if options["options"] is not None:
            body["container"] = dict({"image": ""}, **options["options"])
        (response,) = yield [request("POST", namespace, "checkpoints", "restore", body=body)]
        after = _restored(response.result())
    return changed({"changed": True, "actions": actions, "before": {}, "after": after}, "container", name)


def _restored(view):
    task_of_it = _state(view)
    return {
        "id": view["id"], "image": view["image"], "image_digest": view["image_digest"], "runtime": view["runtime"],
        "status": task_of_it["status"], "pid": task_of_it["pid"],
    }


def migrate(options, check_mode):
    namespace, name, node = options["namespace"], options["container"], options["to"]
    place = (namespace, "containers", name)
    container, known = yield [request("GET", *place), request("GET", namespace, "migrations")]
    if container.missing:
        gone = [each for each in known.result()["items"] if _went(each, name, node)]
        if not gone:
            container.result()
        return _migrated(False, gone[-1])
    if not _runs(container.result()):
        raise AgentError("Container %r does not run: there is nothing to migrate" % name)
    after = {"container": name, "name": options["name_there"] or name, "node": node, "state": "done"}
    if not check_mode:
        keys = (
            "to", "keep_image", "keep_address", "tcp_established", "via", "plain_http", "file_locks",
            "external_unix_sockets", "shell_job", "lazy",
        )
        body = dict({key: options[key] for key in keys}, name=options["name_there"])
        if options["rounds"] is not None:  # an older agent knows none
            body["rounds"] = options["rounds"]
        (response,) = yield [request("POST", *(place + ("migrate",)), body=body)]
        after = response.result()
    return _migrated(True, after)


def _went(migration, name, node):
    return (migration["role"], migration["state"], migration["container"], migration["node"]) == (
        "out", "done", name, node,
    )


def _migrated(did, migration):
    name = migration["container"]
    there = {"node": migration["node"], "name": migration["name"]}
    actions = [{"verb": "migrate", "object": "container/" + name, "reason": "it runs here"}] if did else []
    before = {"node": "this one", "name": name} if did else there
    result = changed({"changed": did, "actions": actions, "before": before, "after": there}, "container", name)
    return dict(result, migration=migration)


TASK_CONVERSATIONS = {
    "task": task,
    "task_info": task_info,
    "metrics_info": metrics_info,
    "checkpoint": checkpoint,
    "restore": restore,
    "migrate": migrate,
}
