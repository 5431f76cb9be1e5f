# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tricorn.containerd.plugins.module_utils import _tasks
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, Response
from ansible_collections.tricorn.containerd.tests.unit.scripted_agent import MISSING, run

IMAGE = Response(200, {"name": "i", "digest": "sha256:1"})


def view(status, name="c", **more):
    names = {"image": "x", "image_digest": "sha256:2", "runtime": "crun"}
    return Response(200, dict(names, id=name, task=status and dict({"status": status, "pid": 1}, **more)))


def listed(*responses):
    return Response(200, {"items": [response.document for response in responses], "cursor": None})


def verbs(asked):
    return [message.path.rpartition("/")[2] for message in asked if message.method == "POST"]


@pytest.mark.parametrize(
    "status, state, wanted, ends",
    [
        ("running", "running", [], "running"),
        ("paused", "running", ["resume"], "running"),
        ("stopped", "running", ["start"], "running"),
        (None, "running", ["start"], "running"),
        ("running", "paused", ["pause"], "paused"),
        ("paused", "paused", [], "paused"),
        ("running", "stopped", ["stop"], "stopped"),
        ("paused", "stopped", ["stop"], "stopped"),
        ("stopped", "stopped", [], "stopped"),
        (None, "stopped", [], "created"),
        ("stopped", "killed", [], "stopped"),
        ("running", "restarted", ["stop", "start"], "running"),
        ("stopped", "restarted", ["start"], "running"),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_a_state_is_brought_about_once(status, state, wanted, ends, check_mode):
    after = [] if check_mode else [Response(200, {"cordoned": False})] * (len(wanted) > 1) + [view(ends)] * len(wanted)
    result, asked = run("task", view(status), *after, container="c", state=state, check_mode=check_mode)
    assert verbs(asked) == ([] if check_mode else wanted)
    assert result["changed"] is bool(wanted)
    assert [action["verb"] for action in result["actions"]] == wanted
    assert result["task"]["status"] == result["diff"]["after"]["status"] == ends
    assert result["diff"]["before"]["status"] == (status or "created")


def test_a_signal_is_sent_and_its_effect_waited_for():
    answers = [view("running"), Response(200, {}), Response(200, {"exit_code": 137}), view("stopped", exit_code=137)]
    result, asked = run("task", *answers, container="c", state="killed", all_processes=True)
    assert asked[1].body == {"signal": "SIGKILL", "all": True}
    assert asked[2].path == "/v1/default/containers/c/wait"
    assert (result["changed"], result["task"]["exit_code"]) == (True, 137)


def test_a_signal_may_leave_it_running():
    answers = [view("running"), Response(200, {}), view("running")]
    result, asked = run("task", *answers, container="c", state="killed", signal="HUP", wait=False)
    assert asked[1].body["signal"] == "HUP"
    assert (result["changed"], result["task"]["status"]) == (True, "running")
    result, asked = run("task", view("running"), container="c", state="killed", signal="HUP", wait=False, check_mode=True)
    assert (result["changed"], result["task"]["status"], len(asked)) == (True, "running", 1)


def limited(**resources):
    return Response(200, dict(view("running").document, desired={"resources": resources}))


@pytest.mark.parametrize("check_mode", [False, True])
def test_limits_change_while_it_runs(check_mode):
    answers = [limited(memory=32 << 20, pids=50, cpus=2)] + [Response(200, {})] * (not check_mode)
    limits = {"memory": "64m", "pids": 50, "cpus": -1}
    result, asked = run("task", *answers, container="c", resources=limits, check_mode=check_mode)
    assert result["changed"] is True
    assert result["diff"]["before"]["resources"] == {"memory": 32 << 20, "cpus": 2}
    assert result["diff"]["after"]["resources"] == {"memory": 64 << 20, "cpus": -1}
    if not check_mode:
        assert asked[1].path == "/v1/default/containers/c/update"
        assert asked[1].body == {"memory": 64 << 20, "cpus": -1}


def test_the_same_limits_are_no_change():
    result, asked = run("task", limited(memory=64 << 20), container="c", resources={"memory": "64m", "pids": -1})
    assert (result["changed"], len(asked)) == (False, 1)


def test_health_is_waited_for():
    answers = [view("stopped"), view("running"), Response(200, {"status": "healthy"}), view("running", health="h")]
    result, asked = run("task", *answers, container="c", state="healthy", wait_timeout=5)
    assert asked[2].query == [("wait", "true"), ("timeout", "5")]
    assert result["task"]["health"] == "h"


def test_what_does_not_run_cannot_be_paused():
    with pytest.raises(AgentError, match="nothing to pause"):
        run("task", view("stopped"), container="c", state="paused")
    with pytest.raises(AgentError, match="no container 'c'"):
        run("task", MISSING, container="c", state="paused")


def test_tasks_come_with_processes_and_figures():
    answers = [
        listed(view("running", "a"), view(None, "b"), view("stopped", "d"), view("paused", "e")),
        Response(200, {"pids": [1, 2]}), Response(412, {"code": "FailedPrecondition"}),
        Response(200, {"pids": 2.0}), MISSING,
    ]
    result, asked = run("task_info", *answers, filters=["x"], metrics=True)
    assert [message.path.rpartition("/")[2] for message in asked[1:]] == ["pids", "pids", "stats", "stats"]
    assert [(each["container"], each["processes"]) for each in result["tasks"]] == [("a", [1, 2]), ("d", []), ("e", [])]
    assert result["tasks"][0]["metrics"] == {"pids": 2.0}
    assert "metrics" not in result["tasks"][2]


def test_figures_of_containers_and_node():
    text = '# HELP a b\na_total{x="1",y="a \\"b\\"\\n, c"} 2.0\nb 1e-3\n'
    answers = [view("running"), MISSING, Response(200, {"memory_bytes": 1.0}), Response(200, {"text": text})]
    result, asked = run("metrics_info", *answers, container=["c", "none"], node=True)
    assert asked[-1].path == "/metrics"
    assert result["exists"] is False
    assert result["containers"] == [{"container": "c", "metrics": {"memory_bytes": 1.0}}]
    assert result["node"] == [
        {"name": "a_total", "labels": {"x": "1", "y": 'a "b"\n, c'}, "value": 2.0},
        {"name": "b", "labels": {}, "value": 0.001},
    ]


def test_samples_of_nothing():
    assert _tasks.samples("") == []


def test_a_checkpoint_is_made_once():
    made = {"image": "i", "digest": "sha256:3", "frozen_ms": 5}
    result, asked = run(
        "checkpoint", view("running"), MISSING, Response(200, made), container="c", image="i", leave_running=True
    )
    assert asked[2].path == "/v1/default/containers/c/checkpoint"
    assert asked[2].body["replace"] is False
    assert asked[2].body["leave_running"] is True
    assert (result["changed"], result["checkpoint"]) == (True, made)
    assert result["diff"]["after"] == {"image": "i", "digest": "sha256:3"}

    result, asked = run("checkpoint", view("stopped"), IMAGE, container="c", image="i")
    assert (result["changed"], result["checkpoint"]["digest"], len(asked)) == (False, "sha256:1", 2)

    result, asked = run("checkpoint", view("running"), IMAGE, container="c", image="i", force=True, check_mode=True)
    assert (result["changed"], len(asked)) == (True, 2)


def test_what_does_not_run_cannot_be_checkpointed():
    with pytest.raises(AgentError, match="nothing to checkpoint"):
        run("checkpoint", view("stopped"), MISSING, container="c", image="i")
    with pytest.raises(AgentError, match="not found"):
        run("checkpoint", MISSING, MISSING, container="c", image="i")


def test_a_container_is_restored_once():
    result, asked = run(
        "restore", MISSING, IMAGE, view("running", "d"), container="d", image="i", options={"labels": {"a": "b"}}
    )
    assert asked[2].path == "/v1/default/checkpoints/restore"
    assert (asked[2].body["id"], asked[2].body["container"]) == ("d", {"image": "", "labels": {"a": "b"}})
    assert (result["changed"], result["container"]["status"]) == (True, "running")
    result, asked = run("restore", view("stopped", "d"), MISSING, container="d", image="i")
    assert (result["changed"], len(asked)) == (False, 2)
    result, asked = run("restore", MISSING, IMAGE, container="d", image="i", check_mode=True)
    assert (result["changed"], len(asked)) == (True, 2)
    with pytest.raises(AgentError, match="not found"):
        run("restore", MISSING, MISSING, container="d", image="i")


def gone(node="node-2", state="done", role="out"):
    return {"id": "5", "role": role, "container": "c", "name": "c", "node": node, "state": state}


def test_a_container_is_migrated_once():
    none = Response(200, {"items": []})
    result, asked = run("migrate", view("running"), none, Response(200, gone()), container="c", to="node-2")
    assert asked[2].path == "/v1/default/containers/c/migrate"
    assert (asked[2].body["to"], asked[2].body["name"], asked[2].body["file_locks"]) == ("node-2", "", True)
    assert (asked[2].body["via"], asked[2].body["keep_address"], asked[2].body["lazy"]) == ("", False, False)
    assert (result["changed"], result["migration"]["state"]) == (True, "done")
    assert result["diff"]["after"] == {"node": "node-2", "name": "c"}

    found = Response(200, {"items": [gone("node-3"), gone(), gone(state="failed"), gone(role="in")]})
    result, asked = run("migrate", MISSING, found, container="c", to="node-2")
    assert (result["changed"], result["migration"]["node"], len(asked)) == (False, "node-2", 2)

    result, asked = run("migrate", view("paused"), none, container="c", to="node-2", check_mode=True)
    assert (result["changed"], len(asked)) == (True, 2)


@pytest.mark.parametrize("went", [[], [gone("node-3")], [gone(state="uncertain")], [gone(role="in")]])
def test_a_container_that_never_went_there_is_missed(went):
    with pytest.raises(AgentError, match="not found"):
        run("migrate", MISSING, Response(200, {"items": went}), container="c", to="node-2")


def test_what_does_not_run_cannot_be_migrated():
    with pytest.raises(AgentError, match="nothing to migrate"):
        run("migrate", view("stopped"), Response(200, {"items": []}), container="c", to="node-2")
