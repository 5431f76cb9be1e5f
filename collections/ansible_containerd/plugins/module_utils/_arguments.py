# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of every module: one table for the module and for its action plugin."""

from __future__ import annotations

from ansible_collections.tricorn.containerd.plugins.module_utils._task_arguments import RESOURCES, TASK_MODULES

NODE = {
    "socket": {"type": "path", "default": "/run/tricorn/tricorn.sock"},
    "timeout": {"type": "float", "default": 600},
}

NAMESPACED = dict(NODE, namespace={"type": "str", "default": "default"})

IMAGE_SOURCE = {
    "pull": {"type": "str", "choices": ["missing", "always", "never"], "default": "missing"},
    "platform": {"type": "str"},
    "plain_http": {"type": "bool", "default": False},
    "snapshotter": {"type": "str"},
}

LOGIN = {
    "registry_username": {"type": "str"},
    "registry_password": {"type": "str", "no_log": True},
}

IMAGE = dict(
    NAMESPACED,
    name={"type": "str", "required": True, "aliases": ["reference"]},
    state={"type": "str", "choices": ["present", "latest", "absent"], "default": "present"},
    platforms={"type": "list", "elements": "str"},
    all_platforms={"type": "bool", "default": False},
    verify={"type": "bool", "default": False},
    unpack={"type": "bool", "default": True},
    labels={"type": "dict"},
    **dict(IMAGE_SOURCE, **LOGIN)
)

CORDON = dict(
    NODE,
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    reason={"type": "str", "default": ""},
)

IMAGE_PUSH = dict(
    NAMESPACED,
    name={"type": "str", "required": True},
    reference={"type": "str", "aliases": ["repository"]},
    platform={"type": "str"},
    plain_http={"type": "bool", "default": False},
    **LOGIN
)

IMAGE_TAG = dict(
    NAMESPACED,
    name={"type": "str", "required": True},
    tags={"type": "list", "elements": "str", "required": True, "aliases": ["references"]},
    force={"type": "bool", "default": False},
)

PLATFORM_CHOICE = {
    "platform": {"type": "str"},
    "all_platforms": {"type": "bool", "default": False},
}

IMAGE_EXPORT = dict(
    NAMESPACED,
    names={"type": "list", "elements": "str", "required": True, "aliases": ["name"]},
    dest={"type": "str", "required": True, "aliases": ["path"]},
    **PLATFORM_CHOICE
)

IMAGE_IMPORT = dict(
    NAMESPACED,
    src={"type": "str", "required": True, "aliases": ["path"]},
    base_name={"type": "str"},
    unpack={"type": "bool", "default": True},
    compress={"type": "bool", "default": False},
    **PLATFORM_CHOICE
)

INFO = dict(
    NAMESPACED,
    name={"type": "list", "elements": "str", "aliases": ["names"]},
    filters={"type": "list", "elements": "str"},
)

NODE_INFO = dict(NODE, **{key: INFO[key] for key in ("name", "filters")})

CONTENT_INFO = dict(
    NAMESPACED,
    digest={"type": "list", "elements": "str", "aliases": ["digests"]},
    filters={"type": "list", "elements": "str"},
)

CONTENT = dict(
    NAMESPACED,
    digest={"type": "str", "required": True, "aliases": ["name"]},
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    labels={"type": "dict"},
    keep={"type": "bool"},
)

SNAPSHOT_INFO = dict(
    NAMESPACED,
    snapshotter={"type": "str"},
    filters={"type": "list", "elements": "str"},
)

SNAPSHOT = dict(
    NAMESPACED,
    key={"type": "str", "required": True, "aliases": ["name"], "no_log": False},
    state={"type": "str", "choices": ["active", "view", "committed", "absent"], "default": "active"},
    snapshotter={"type": "str", "default": "overlayfs"},
    parent={"type": "str"},
    source={"type": "str"},
    labels={"type": "dict"},
    keep={"type": "bool"},
    lease={"type": "str"},
)

# It asks the agent's program, not the agent, hence none of the options that all others share.
NODE_CONFIG = {
    "name": {"type": "str", "default": "50-ansible"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "settings": {"type": "dict", "default": {}},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "config_file": {"type": "path", "default": "/etc/tricorn/config.toml"},
    "program": {"type": "path", "default": "/usr/local/bin/tricornd"},
    "reload": {"type": "bool", "default": True},
}

NAMESPACE = dict(
    NODE,
    name={"type": "str", "required": True},
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    labels={"type": "dict"},
)

HELD = {
    "type": {"type": "str", "required": True},
    "id": {"type": "str", "required": True},
}

LEASE = dict(
    NAMESPACED,
    name={"type": "str", "required": True, "aliases": ["id"]},
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    labels={"type": "dict"},
    expires_in={"type": "float"},
    renew={"type": "bool", "default": False},
    resources={"type": "list", "elements": "dict", "options": HELD},
)

NETWORK = dict(
    NODE,
    name={"type": "str", "required": True},
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    subnet={"type": "str"},
    gateway={"type": "str"},
    ipv4={"type": "bool"},
    ipv6={"type": "bool"},
    subnet6={"type": "str"},
    gateway6={"type": "str"},
    mtu={"type": "int"},
    masquerade={"type": "bool"},
    dns={"type": "list", "elements": "str"},
    namespaces={"type": "list", "elements": "str"},
    labels={"type": "dict"},
)

PORT = {
    "container": {"type": "int", "required": True},
    "host": {"type": "int", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "address": {"type": "str"},
}

MOUNT = {
    "target": {"type": "str", "required": True},
    "source": {"type": "str"},
    "type": {"type": "str", "default": "bind"},
    "options": {"type": "list", "elements": "str"},
}

RLIMIT = {
    "type": {"type": "str", "required": True},
    "soft": {"type": "int", "required": True},
    "hard": {"type": "int", "required": True},
}

CONTAINER = dict(
    NAMESPACED,
    name={"type": "str", "required": True, "aliases": ["id"]},
    state={
        "type": "str",
        "choices": ["present", "started", "stopped", "restarted", "absent"],
        "default": "started",
    },
    force={"type": "bool", "default": False},
    image={"type": "str"},
    command={"type": "str"},
    args={"type": "list", "elements": "str"},
    entrypoint={"type": "list", "elements": "str"},
    env={"type": "dict"},
    cwd={"type": "str", "aliases": ["working_dir"]},
    user={"type": "str"},
    groups={"type": "list", "elements": "str"},
    hostname={"type": "str"},
    mounts={"type": "list", "elements": "dict", "options": MOUNT},
    devices={"type": "list", "elements": "str"},
    capabilities_add={"type": "list", "elements": "str"},
    capabilities_drop={"type": "list", "elements": "str"},
    privileged={"type": "bool"},
    read_only={"type": "bool"},
    no_new_privileges={"type": "bool"},
    tty={"type": "bool"},
    stdin={"type": "bool"},
    network={"type": "str"},
    ports={"type": "list", "elements": "dict", "options": PORT},
    namespaces={"type": "dict"},
    resources={"type": "dict", "options": RESOURCES},
    rlimits={"type": "list", "elements": "dict", "options": RLIMIT},
    sysctls={"type": "dict"},
    seccomp={"type": "str"},
    annotations={"type": "dict"},
    labels={"type": "dict"},
    runtime={"type": "str"},
    stop_signal={"type": "str"},
    stop_timeout={"type": "float"},
    restart_policy={"type": "str"},
    health={
        "type": "dict",
        "options": {
            "exec": {"type": "list", "elements": "str"},
            "tcp": {"type": "int"},
            "http": {"type": "str"},
            "interval": {"type": "float"},
            "timeout": {"type": "float"},
            "retries": {"type": "int"},
            "start_period": {"type": "float"},
            "on_unhealthy": {"type": "str", "choices": ["none", "kill"]},
        },
        "mutually_exclusive": [("exec", "tcp", "http")],
        "required_one_of": [("exec", "tcp", "http")],
    },
    log_size={"type": "str"},
    log_files={"type": "int"},
    **IMAGE_SOURCE
)

CONTAINER_EXEC = dict(
    NAMESPACED,
    container={"type": "str", "required": True, "aliases": ["name"]},
    argv={"type": "list", "elements": "str"},
    command={"type": "str"},
    stdin={"type": "str"},
    env={"type": "dict"},
    user={"type": "str"},
    cwd={"type": "str", "aliases": ["chdir"]},
    tty={"type": "bool", "default": False},
    detach={"type": "bool", "default": False},
    exec_id={"type": "str"},
    creates={"type": "str"},
    removes={"type": "str"},
    fail_on_rc={"type": "bool", "default": True},
)

# What AnsibleModule and ArgumentSpecValidator take beside the options, by module.
_LOGIN_TOGETHER = [("registry_username", "registry_password")]
_ONE_CHOICE = [("platform", "all_platforms")]

MODULES = {
    "image": {
        "argument_spec": IMAGE,
        "required_together": _LOGIN_TOGETHER,
        "mutually_exclusive": [("platforms", "all_platforms")],
    },
    "image_info": {"argument_spec": INFO, "mutually_exclusive": [("name", "filters")]},
    "image_push": {"argument_spec": IMAGE_PUSH, "required_together": _LOGIN_TOGETHER},
    "image_tag": {"argument_spec": IMAGE_TAG},
    "image_export": {"argument_spec": IMAGE_EXPORT, "mutually_exclusive": _ONE_CHOICE},
    "image_import": {"argument_spec": IMAGE_IMPORT, "mutually_exclusive": _ONE_CHOICE},
    "content": {"argument_spec": CONTENT},
    "content_info": {"argument_spec": CONTENT_INFO, "mutually_exclusive": [("digest", "filters")]},
    "snapshot_info": {"argument_spec": SNAPSHOT_INFO},
    "snapshot": {"argument_spec": SNAPSHOT},
    "node_config": {"argument_spec": NODE_CONFIG},
    "namespace": {"argument_spec": NAMESPACE},
    "namespace_info": {"argument_spec": NODE_INFO, "mutually_exclusive": [("name", "filters")]},
    "lease": {"argument_spec": LEASE},
    "lease_info": {"argument_spec": INFO, "mutually_exclusive": [("name", "filters")]},
    "network": {"argument_spec": NETWORK},
    "network_info": {"argument_spec": NODE_INFO, "mutually_exclusive": [("name", "filters")]},
    "gc": {"argument_spec": NODE},
    "cordon": {"argument_spec": CORDON},
    "container": {
        "argument_spec": CONTAINER,
        "required_if": [("state", "present", ("image",))],
        "mutually_exclusive": [("command", "args")],
    },
    "container_info": {"argument_spec": INFO, "mutually_exclusive": [("name", "filters")]},
    "container_exec": {
        "argument_spec": CONTAINER_EXEC,
        "required_one_of": [("argv", "command")],
        "mutually_exclusive": [("argv", "command")],
        "required_by": {"exec_id": ("detach",)},
    },
    "node_info": {"argument_spec": NODE},
}
MODULES.update(TASK_MODULES)
