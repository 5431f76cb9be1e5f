# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a module's options to the bodies that the agent takes: pure functions.

What the user left out is left out of the body too, so that every default has its one home in the agent.
"""

from __future__ import annotations

import shlex

from ansible.module_utils.common.text.formatters import human_to_bytes
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError

# Options whose name and value are those of the agent's body.
_SAME = (
    "image", "state", "pull", "platform", "plain_http", "entrypoint", "args", "cwd", "user", "groups", "hostname",
    "devices", "privileged", "read_only", "no_new_privileges", "stdin", "network", "seccomp", "runtime",
    "snapshotter", "stop_signal", "stop_timeout", "log_files", "rlimits",
)
_TEXTS = ("env", "namespaces", "sysctls", "annotations", "labels")
_RENAMED = {
    "capabilities_add": "cap_add", "capabilities_drop": "cap_drop", "tty": "terminal", "restart_policy": "restart",
}
_SIZES = ("memory", "memory_swap", "memory_reservation")


def given(options):
    """Return the options that have a value."""
    return dict((key, value) for key, value in options.items() if value is not None)


def size(option, text):
    """Return the bytes of a size such as V(64m); V(-1) stands for unlimited."""
    if text.strip() == "-1":
        return -1
    try:
        return human_to_bytes(text)
    except ValueError as error:
        raise AgentError("%s: %s (hint: a size is a number with a unit, such as 64m or 1.5g)" % (option, error))


def texts(option, mapping):
    """Return a mapping of texts; what YAML may have changed on the way is refused."""
    for key, value in mapping.items():
        if isinstance(value, (bool, float)) or not isinstance(value, (str, int)):
            raise AgentError(
                "%s: the value of %r is not a text but %s (hint: put it in quotes)" % (option, key, type(value).__name__)
            )
    return dict((str(key), str(value)) for key, value in mapping.items())


def words(option, text):
    """Return a command line's words, split as a POSIX shell does."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise AgentError("%s: %s in %r" % (option, error, text))


def image(options):
    """Return the body of C(PUT /v1/{namespace}/images)."""
    keys = ("pull", "platform", "platforms", "snapshotter", "unpack")
    body = dict(registry(options), **given({key: options[key] for key in keys}))
    body.update(reference=options["name"], state="present")
    if options["state"] == "latest":
        body["pull"] = "always"
    if options["all_platforms"]:
        body["all_platforms"] = True
    if options["labels"] is not None:
        body["labels"] = texts("labels", options["labels"])
    return body


def network(options):
    """Return the body of C(PUT /v1/networks/{network})."""
    keys = ("subnet", "gateway", "ipv4", "ipv6", "subnet6", "gateway6", "mtu", "masquerade", "dns", "namespaces")
    body = given({key: options[key] for key in keys})
    body["state"] = options["state"]
    if options["labels"] is not None:
        body["labels"] = texts("labels", options["labels"])
    return body


def registry(options):
    """Return how a registry is reached: as the bodies of pulls, pushes and questions to the policy have it."""
    body = {"plain_http": options["plain_http"]}
    if options["registry_username"] is not None:
        body["auth"] = {"username": options["registry_username"], "password": options["registry_password"]}
    return body


def container(options):
    """Return the body of C(PUT /v1/{namespace}/containers/{id})."""
    options = given(options)
    body = dict((key, options[key]) for key in _SAME if key in options)
    body.update((name, options[key]) for key, name in _RENAMED.items() if key in options)
    body.update((key, texts(key, options[key])) for key in _TEXTS if key in options)
    if "command" in options:
        body["args"] = words("command", options["command"])
    if "mounts" in options:
        body["mounts"] = [given(mount) for mount in options["mounts"]]
    if "ports" in options:
        body["ports"] = [given(port) for port in options["ports"]]
    if "health" in options:
        body["health"] = given(options["health"])
    if "resources" in options:
        body["resources"] = resources(options["resources"])
    if "log_size" in options:
        body["log_size"] = size("log_size", options["log_size"])
    return body


def resources(options):
    limits = given(options)
    limits.update((key, size("resources.%s" % key, limits[key])) for key in _SIZES if key in limits)
    return limits


def process(options):
    """Return the body of C(POST .../containers/{id}/exec)."""
    body = given({key: options[key] for key in ("stdin", "user", "cwd", "timeout")})
    body["args"] = options["argv"] if options["argv"] is not None else words("command", options["command"])
    if not body["args"]:
        raise AgentError("The command to execute is empty")
    body["terminal"] = options["tty"]
    if options["env"] is not None:
        body["env"] = texts("env", options["env"])
    return body


def detached(options, body):
    """Return the body of C(POST .../containers/{id}/execs) for what C(process) returned."""
    if options["stdin"] is not None:
        raise AgentError("stdin: a detached command has no standard input from here")
    body = dict((key, value) for key, value in body.items() if key != "timeout")
    if options["exec_id"]:
        body["id"] = options["exec_id"]
    return body
