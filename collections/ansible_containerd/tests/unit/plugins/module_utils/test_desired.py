# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tricorn.containerd.plugins.module_utils import _desired
from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError


def options(module, **given):
    validation = ArgumentSpecValidator(**MODULES[module]).validate(given)
    assert not validation.error_messages
    return validation.validated_parameters


def test_an_image_leaves_defaults_to_the_agent():
    assert _desired.image(options("image", name="redis")) == {
        "reference": "redis", "state": "present", "pull": "missing", "plain_http": False, "unpack": True,
    }


def test_an_image_carries_credentials_and_labels():
    body = _desired.image(
        options("image", name="redis", registry_username="u", registry_password="p", labels={"a": 1}, platform="linux/arm64")
    )
    assert body["auth"] == {"username": "u", "password": "p"}
    assert body["labels"] == {"a": "1"}
    assert body["platform"] == "linux/arm64"


def test_an_image_for_all_platforms_names_none():
    assert _desired.image(options("image", name="redis", all_platforms=True))["all_platforms"] is True
    both = ArgumentSpecValidator(**MODULES["image"]).validate({"name": "a", "platforms": ["b/c"], "all_platforms": True})
    assert "mutually exclusive" in both.error_messages[0]


def test_a_container_holds_what_was_given_and_no_more():
    assert _desired.container(options("container", name="c", image="redis")) == {
        "image": "redis", "state": "started", "pull": "missing", "plain_http": False,
    }


def test_options_take_the_names_of_the_agent():
    body = _desired.container(
        options(
            "container",
            name="c",
            image="redis",
            tty=True,
            capabilities_add=["CAP_SYS_TIME"],
            capabilities_drop=["CAP_CHOWN"],
            command="sleep 'a b'",
            entrypoint=[],
            mounts=[{"target": "/data", "source": "/srv", "options": ["ro"]}, {"target": "/tmp", "type": "tmpfs"}],
            rlimits=[{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
            log_size="1m",
            env={"A": 1},
            stop_timeout=2,
            restart_policy="on-failure:3",
            health={"tcp": 80, "interval": 1.5},
        )
    )
    assert body["terminal"] is True
    assert body["cap_add"] == ["CAP_SYS_TIME"]
    assert body["cap_drop"] == ["CAP_CHOWN"]
    assert body["args"] == ["sleep", "a b"]
    assert body["entrypoint"] == []
    assert body["mounts"] == [
        {"target": "/data", "source": "/srv", "type": "bind", "options": ["ro"]},
        {"target": "/tmp", "type": "tmpfs"},
    ]
    assert body["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]
    assert body["log_size"] == 1024 * 1024
    assert body["env"] == {"A": "1"}
    assert body["stop_timeout"] == 2
    assert body["restart"] == "on-failure:3"
    assert body["health"] == {"tcp": 80, "interval": 1.5}


def test_sizes_of_resources_are_bytes():
    body = _desired.container(
        options("container", name="c", image="x", resources={"memory": "64m", "memory_swap": "-1", "cpus": 1.5})
    )
    assert body["resources"] == {"memory": 64 * 1024 * 1024, "memory_swap": -1, "cpus": 1.5}


@pytest.mark.parametrize(
    "text, expected", [("4096", 4096), ("1k", 1024), ("64m", 2**26), ("1.5g", 3 * 2**29), ("2GB", 2**31), (" -1 ", -1)]
)
def test_sizes(text, expected):
    assert _desired.size("memory", text) == expected


@pytest.mark.parametrize("text", ["", "m", "12 apples", "1x"])
def test_what_is_no_size_is_refused_by_its_option(text):
    with pytest.raises(AgentError, match="^resources.memory: "):
        _desired.size("resources.memory", text)


@pytest.mark.parametrize("value", [True, 1.5, None, ["a"]])
def test_what_yaml_made_of_a_text_is_refused(value):
    with pytest.raises(AgentError, match="env: the value of 'A' .*quotes"):
        _desired.texts("env", {"A": value})


def test_a_command_is_split_as_by_a_shell():
    body = _desired.process(options("container_exec", container="c", command="sh -c 'echo \"a b\"'", cwd="/", env={"A": "b"}))
    assert body == {"args": ["sh", "-c", 'echo "a b"'], "cwd": "/", "terminal": False, "env": {"A": "b"}, "timeout": 600}


@pytest.mark.parametrize("command", ["", "  "])
def test_an_empty_command_is_refused(command):
    with pytest.raises(AgentError, match="empty"):
        _desired.process(options("container_exec", container="c", command=command))


def test_an_open_quote_is_refused():
    with pytest.raises(AgentError, match="command: No closing quotation"):
        _desired.process(options("container_exec", container="c", command="echo 'a"))
