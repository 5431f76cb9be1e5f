# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the modules of what runs: tasks, checkpoints, logs, figures and events."""

from __future__ import annotations

NODE = {
    "socket": {"type": "path", "default": "/run/tricorn/tricorn.sock"},
    "timeout": {"type": "float", "default": 600},
}

NAMESPACED = dict(NODE, namespace={"type": "str", "default": "default"})

CONTAINER = {"type": "str", "required": True, "aliases": ["name"]}

RESOURCES = {
    "memory": {"type": "str"},
    "memory_swap": {"type": "str"},
    "memory_reservation": {"type": "str"},
    "cpus": {"type": "float"},
    "cpu_shares": {"type": "int"},
    "cpuset_cpus": {"type": "str"},
    "cpuset_mems": {"type": "str"},
    "pids": {"type": "int"},
}

TASK = dict(
    NAMESPACED,
    container=CONTAINER,
    state={
        "type": "str",
        "choices": ["running", "healthy", "paused", "stopped", "killed", "restarted"],
        "default": "running",
    },
    signal={"type": "str", "default": "SIGKILL"},
    all_processes={"type": "bool", "default": False},
    stop_timeout={"type": "float"},
    resources={"type": "dict", "options": RESOURCES},
    wait={"type": "bool", "default": True},
    wait_timeout={"type": "float", "default": 60},
)

LOOKUP = {
    "container": {"type": "list", "elements": "str", "aliases": ["name", "containers"]},
    "filters": {"type": "list", "elements": "str"},
}

TASK_INFO = dict(NAMESPACED, metrics={"type": "bool", "default": False}, **LOOKUP)

METRICS_INFO = dict(NAMESPACED, node={"type": "bool", "default": False}, **LOOKUP)

CONTAINER_LOGS = dict(
    NAMESPACED,
    container=CONTAINER,
    tail={"type": "int", "default": 1000},
    since={"type": "str"},
    until={"type": "str"},
)

EVENTS = dict(
    NODE,
    namespace={"type": "str"},
    filters={"type": "list", "elements": "str"},
    since={"type": "int"},
)

EVENT_INFO = dict(EVENTS, limit={"type": "int", "default": 1000})

EVENT_WAIT = dict(
    EVENTS,
    count={"type": "int", "default": 1},
    wait_timeout={"type": "float", "default": 60},
)

DUMP = {
    "tcp_established": {"type": "bool", "default": False},
    "external_unix_sockets": {"type": "bool", "default": False},
    "shell_job": {"type": "bool", "default": False},
    "rw": {"type": "bool", "default": True},
}

CHECKPOINT = dict(
    NAMESPACED,
    container=CONTAINER,
    image={"type": "str", "required": True},
    leave_running={"type": "bool", "default": False},
    file_locks={"type": "bool", "default": True},
    base={"type": "bool", "default": True},
    force={"type": "bool", "default": False},
    **DUMP
)

RESTORE = dict(
    NAMESPACED,
    image={"type": "str", "required": True},
    container=CONTAINER,
    options={"type": "dict"},
    file_locks={"type": "bool", "default": False},
    lazy={"type": "bool", "default": False},
    **DUMP
)

MIGRATE = dict(
    NAMESPACED,
    container=CONTAINER,
    to={"type": "str", "required": True},
    name_there={"type": "str", "default": ""},
    keep_image={"type": "bool", "default": False},
    keep_address={"type": "bool", "default": False},
    tcp_established={"type": "bool", "default": False},
    via={"type": "str", "default": ""},
    plain_http={"type": "bool", "default": False},
    file_locks={"type": "bool", "default": True},
    lazy={"type": "bool", "default": False},
    rounds={"type": "int"},
    external_unix_sockets=DUMP["external_unix_sockets"],
    shell_job=DUMP["shell_job"],
)

CONTAINER_COPY = dict(
    NAMESPACED,
    container=CONTAINER,
    path={"type": "str", "required": True},
    src={"type": "str"},
    content={"type": "str"},
    encoding={"type": "str", "choices": ["text", "base64"], "default": "text"},
    dest={"type": "str"},
    state={"type": "str", "choices": ["directory"]},
    remote_src={"type": "bool", "default": False},
    follow={"type": "bool", "default": False},
    owner={"type": "int", "default": 0},
    group={"type": "int", "default": 0},
    mode={"type": "raw"},
    directory_mode={"type": "raw"},
    parents={"type": "bool", "default": False},
)

NAMESPACE_STATE = {
    "name": {"type": "str", "required": True},
    "labels": {"type": "dict"},
    "images": {"type": "list", "elements": "dict"},
    "containers": {"type": "list", "elements": "dict"},
    "prune": {"type": "bool", "default": False},
}

APPLY = dict(
    NODE,
    namespaces={"type": "list", "elements": "dict", "options": NAMESPACE_STATE},
    networks={"type": "list", "elements": "dict"},
    parallel={"type": "int", "default": 4},
)

_ONE_WAY = {"mutually_exclusive": [("container", "filters")]}

TASK_MODULES = {
    "task": {"argument_spec": TASK},
    "task_info": dict(_ONE_WAY, argument_spec=TASK_INFO),
    "metrics_info": dict(_ONE_WAY, argument_spec=METRICS_INFO),
    "container_logs": {"argument_spec": CONTAINER_LOGS},
    "apply": {"argument_spec": APPLY},
    "container_copy": {
        "argument_spec": CONTAINER_COPY,
        "mutually_exclusive": [("src", "content", "dest", "state")],
        "required_one_of": [("src", "content", "dest", "state")],
    },
    "event_info": {"argument_spec": EVENT_INFO},
    "event_wait": {"argument_spec": EVENT_WAIT},
    "checkpoint": {"argument_spec": CHECKPOINT},
    "restore": {"argument_spec": RESTORE},
    "migrate": {"argument_spec": MIGRATE},
}
