# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: container_options
short_description: Options of a container task, from what a node tells of a container
version_added: 0.1.0
author:
  - Tricorn authors (@tricorn)
description:
  - Turns the description of containers as M(tricorn.containerd.container_info) returns it into options of
    M(tricorn.containerd.container) that make the same container again, on this node or on another one.
  - The name of its image may stand for another one by now. Given the images of the node, the container's own is named by
    its digest then.
options:
  _input:
    description: Containers, as they are in RV(tricorn.containerd.container_info#module:containers).
    type: list
    elements: dict
    required: true
  images:
    description: Images, as they are in RV(tricorn.containerd.image_info#module:images).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Look at the containers
  tricorn.containerd.container_info:
    name: [web, cache]
  register: found

- name: Make them on another node, too
  tricorn.containerd.apply:
    namespaces:
      - name: default
        containers: "{{ found.containers | tricorn.containerd.container_options }}"
  delegate_to: n2
"""

RETURN = r"""
_value:
  description: Options of M(tricorn.containerd.container) for each of them.
  type: list
  elements: dict
"""

from ansible.errors import AnsibleFilterError

# Options that the agent calls otherwise, by its names.
_RENAMED = {
    "cap_add": "capabilities_add", "cap_drop": "capabilities_drop", "terminal": "tty", "restart": "restart_policy",
}
# What the module has no option for.
_UNKNOWN = ("uid_map", "gid_map")
# Options for which nothing is something else than the agent's default.
_MEANT_EMPTY = ("entrypoint", "args", "no_new_privileges", "stop_timeout")
# States of a container that the module can bring about.
_STATES = {"running": "started", "paused": "started"}


def container_options(containers, images=()):
    """Return the options that make each of the containers again."""
    digests = dict((image["name"], image["digest"]) for image in images)
    return [_options(container, digests) for container in containers]


def _options(container, digests):
    desired = container["desired"]
    for key in _UNKNOWN:
        if desired.get(key):
            raise AnsibleFilterError(
                "container %s has %s, which the module tricorn.containerd.container can't ask for" % (container["id"], key)
            )
    options = dict(
        (_RENAMED.get(key, key), value) for key, value in desired.items() if _is_meant(key, value) and key not in _UNKNOWN
    )
    if "resources" in options:
        options["resources"] = _sizes(options["resources"])
    if "health" in options:
        options["health"] = _given(options["health"])
    for key in ("mounts", "ports"):
        if key in options:
            options[key] = [_given(each) for each in options[key]]
    if "log_size" in options:
        options["log_size"] = str(options["log_size"])
    status = (container.get("task") or {}).get("status", "created")
    options.update(name=container["id"], state=_STATES.get(status, "stopped"), pull="missing")
    image, digest = desired["image"], container.get("image_digest")
    if digest and digests.get(image, digest) != digest:
        options["image"] = "%s@%s" % (_repository(image), digest)
    return options


def _is_meant(key, value):
    return value is not None and (bool(value) or key in _MEANT_EMPTY)


def _sizes(resources):
    """Return limits as the module takes them: those of memory are texts."""
    return dict(
        (key, str(value) if key.startswith("memory") else value) for key, value in _given(resources).items()
    )


def _given(options):
    """Return what was asked for: nothing, zero and nobody are the agent's defaults."""
    return dict((key, value) for key, value in options.items() if value)


def _repository(reference):
    """Return a reference without tag and digest."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


class FilterModule:
    """The filter, as Ansible looks for it."""

    def filters(self):
        return {"container_options": container_options}
