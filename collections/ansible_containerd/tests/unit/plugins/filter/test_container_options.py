# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tricorn.containerd.plugins.filter.container_options import container_options
from ansible_collections.tricorn.containerd.plugins.module_utils import _desired
from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES

IMAGE = "r.example:5000/team/web:1"
MEANT = {
    "image": IMAGE, "args": ["serve"], "entrypoint": [], "env": {"A": "b"}, "cap_add": ["CAP_KILL"], "terminal": True,
    "no_new_privileges": False, "restart": "on-failure:3", "stop_timeout": 0.5, "log_size": 4096,
    "resources": {"memory": 1048576, "cpus": 1.5}, "ports": [{"container": 80, "host": 8080, "protocol": "tcp"}],
    "health": {"exec": ["true"], "interval": 2.0}, "mounts": [{"target": "/t", "type": "tmpfs"}],
}
UNSAID = {
    "cwd": "", "groups": [], "uid_map": [], "devices": [], "platform": "", "read_only": False,
    "resources": dict(MEANT["resources"], pids=None), "log_files": 0,
    "health": dict(MEANT["health"], tcp=0, http=""), "ports": [dict(MEANT["ports"][0], address="")],
    "mounts": [dict(MEANT["mounts"][0], source="", options=[])],
}


def view(status="running", **desired):
    desired = dict(MEANT, **dict(UNSAID, **desired))
    return {"id": "web", "desired": desired, "image_digest": "sha256:a", "task": status and {"status": status}}


def meant(body):
    """Return a body without what it says nothing about."""
    lists = {key: [_desired.given(each) for each in body[key]] for key in ("mounts", "ports")}
    return {key: value for key, value in dict(body, **lists).items() if key in MEANT}


def test_the_module_asks_for_the_same_container():
    (options,) = container_options([view()])
    validation = ArgumentSpecValidator(**MODULES["container"]).validate(options)
    assert not validation.error_messages
    assert meant(_desired.container(validation.validated_parameters)) == MEANT
    assert (options["name"], options["state"]) == ("web", "started")


@pytest.mark.parametrize("status", ["stopped", None])
def test_one_that_did_not_run_does_not_run_then(status):
    assert container_options([view(status)])[0]["state"] == "stopped"


def test_an_image_whose_name_has_moved_is_named_by_its_digest():
    same, other = {"name": IMAGE, "digest": "sha256:a"}, {"name": IMAGE, "digest": "sha256:b"}
    assert container_options([view()], [same])[0]["image"] == IMAGE
    assert container_options([view()], [other])[0]["image"] == "r.example:5000/team/web@sha256:a"


def test_what_the_module_cannot_ask_for_is_told():
    with pytest.raises(AnsibleFilterError, match="uid_map"):
        container_options([view(uid_map=["0:100000:65536"])])
