# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tricorn.containerd.plugins.module_utils import _copying
from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, Response

PLACE = "PUT /v1/default/containers/c/"


def change(before=None, after=None):
    files = {"before": {"files": before or {}}, "after": {"files": after or {}}}
    return Response(200, dict(files, changed=bool(after), actions=[]))


def run(answer, check_mode=False, archive=None, **given):
    """Converse with an agent of one answer; return the result and the request."""
    validation = ArgumentSpecValidator(**MODULES["container_copy"]).validate(dict({"container": "c"}, **given))
    assert not validation.error_messages
    conversation = _copying.container_copy(dict(validation.validated_parameters, archive=archive), check_mode)
    (asked,) = next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send([answer])
    return end.value.value, asked


def test_content_becomes_a_file():
    facts = {"type": "file", "sha256": "1", "content": "new\n"}
    result, asked = run(
        change({"/a": {"content": "old\n"}}, {"/a": facts}), path="/a", content="new\n", mode="0640", parents=True
    )
    assert "%s %s" % (asked.method, asked.path) == PLACE + "files"
    assert asked.body == {
        "path": "/a", "type": "file", "show": True, "uid": 0, "gid": 0, "parents": True, "content": "new\n",
        "encoding": "text", "mode": 0o640,
    }
    assert (result["diff"]["before"], result["diff"]["after"]) == ("old\n", "new\n")
    assert (result["checksum"], result["files"]) == ("1", {"/a": {"type": "file", "sha256": "1"}})


def test_a_directory_is_wanted():
    asked = run(change(), path="/d", state="directory", directory_mode=0o700, check_mode=True)[1]
    assert (asked.body["type"], asked.body["mode"], asked.query) == ("directory", 0o700, [("plan", "true")])
    assert "content" not in asked.body


@pytest.mark.parametrize("given, to, node", [
    ({"src": "/s", "remote_src": True}, "container", "/s"), ({"dest": "/t", "follow": True}, "node", "/t"),
])
def test_files_of_the_node(given, to, node):
    result, asked = run(change({}, {"/d": {}, "/d/e": {}}), path="/p", **given)
    assert asked.path.endswith("/copy")
    assert (asked.body["to"], asked.body["path"], asked.body["node_path"]) == (to, "/p", node)
    assert asked.body["follow"] is bool(given.get("follow"))
    assert result["diff"]["after"] == {"/d": {}, "/d/e": {}}
    assert result["checksum"] is None


def test_an_archive_of_the_controllers():
    asked = run(
        change(), check_mode=True, archive=b"tar", path="/p/q", src="x", remote_src=True, owner=5, directory_mode="0755",
        parents=True,
    )[1]
    assert asked.query == [
        ("directory_mode", 0o755), ("path", "/p"), ("uid", 5), ("gid", 0), ("parents", "true"), ("plan", "true"),
    ]
    assert asked.encode().endswith(b"Content-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\ntar")


@pytest.mark.parametrize("value, number", [("0644", 0o644), ("755", 0o755), (0o600, 0o600), (None, None)])
def test_modes_are_octal(value, number):
    assert _copying.mode("mode", value) == number


def test_other_modes_are_refused():
    with pytest.raises(AgentError, match="in quotes"):
        _copying.mode("mode", "u=rw")


def test_the_controllers_files_take_the_controller():
    with pytest.raises(AgentError, match="remote_src"):
        run(change(), path="/p", src="x")
