# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, Response
from ansible_collections.tricorn.containerd.plugins.module_utils._conversation import CONVERSATIONS
from ansible_collections.tricorn.containerd.tests.unit import scripted_agent
from ansible_collections.tricorn.containerd.tests.unit.scripted_agent import MISSING

CREATED = {"verb": "create", "object": "container/c", "reason": "no such container"}
OPEN = Response(200, {"cordoned": False, "reason": ""})
STARTED = {"verb": "start", "object": "container/c", "reason": ""}


def change(*actions, **more):
    return Response(200, dict({"changed": bool(actions), "actions": list(actions), "before": {}, "after": {}}, **more))


def container_view(status, pid=0):
    names = {"id": "c", "namespace": "default", "image": "x", "image_digest": "sha256:1", "runtime": "crun"}
    desired = {"labels": {"a": "b"}, "env": {}, "image": "x"}
    return Response(200, dict(names, desired=desired, task=status and {"status": status, "pid": pid}))


def run(module, responses, check_mode=False, **given):
    """Converse as scripted; return the result, and the requests as lines and whole."""
    result, asked = scripted_agent.run(module, *responses, check_mode=check_mode, **given)
    return result, ["%s %s" % (message.method, message.path) for message in asked], asked


def test_every_module_has_a_conversation():
    # node_config asks the agent's program, which needs no running agent
    assert {*CONVERSATIONS, "node_config"} == set(MODULES)


def test_an_image_is_put():
    answer = change({"verb": "pull"}, before={"digest": "a"}, after={"digest": "b"}, warnings=["old"])
    result, lines, asked = run("image", [answer], name="redis")
    assert lines == ["PUT /v1/default/images"]
    assert asked[0].query == []
    assert result == {
        "changed": True,
        "actions": [{"verb": "pull"}],
        "warnings": ["old"],
        "image": {"digest": "b"},
        "diff": {
            "before": {"digest": "a"}, "after": {"digest": "b"},
            "before_header": "image redis", "after_header": "image redis",
        },
    }


@pytest.mark.parametrize("module, more", [("image", {}), ("container", {"image": "x"})])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_check_mode_asks_for_the_plan(module, more, state):
    asked = run(module, [change()], check_mode=True, name="c", state=state, **more)[2]
    assert [message.query for message in asked] == [[("plan", "true")]]


@pytest.mark.parametrize("module", ["image", "container"])
def test_what_is_not_there_needs_no_removal(module):
    result, lines, dummy = run(module, [MISSING], name="a/b", namespace="n", state="absent")
    assert lines == ["DELETE /v1/n/%ss/a%%2Fb" % module]
    assert result["changed"] is False
    assert result[module] == {}


def test_a_running_container_is_removed_by_force():
    asked = run("container", [change()], name="c", state="absent", force=True, stop_timeout=1.5)[2]
    assert asked[0].query == [("force", "true"), ("stop_timeout", "1.5")]


def test_a_running_container_is_not_removed_by_a_timeout():
    asked = run("container", [change()], name="c", state="absent", stop_timeout=1)[2]
    assert asked[0].query == []


def test_a_refusal_is_an_error():
    with pytest.raises(AgentError, match="it is running"):
        run("container", [Response(412, {"detail": "it is running"})], name="c", state="absent")


def test_a_new_container_is_not_restarted_again():
    result, lines, asked = run("container", [change(CREATED, STARTED)], name="c", image="x", state="restarted")
    assert lines == ["PUT /v1/default/containers/c"]
    assert asked[0].body["state"] == "started"
    assert result["actions"] == [CREATED, STARTED]


def test_a_running_container_is_restarted():
    view = container_view("running", pid=2)
    result, lines, asked = run(
        "container", [change(), OPEN, container_view("stopped"), view],
        name="c", image="x", state="restarted", stop_timeout=3,
    )
    assert lines[2:] == ["POST /v1/default/containers/c/stop", "POST /v1/default/containers/c/start"]
    assert asked[2].body == {"timeout": 3}
    assert result["changed"] is True
    assert [action["verb"] for action in result["actions"]] == ["stop", "start"]
    assert (result["container"]["status"], result["container"]["pid"]) == ("running", 2)


@pytest.mark.parametrize("module, key", [("container", "name"), ("task", "container")])
def test_a_cordoned_node_restarts_nothing(module, key):
    cordoned = Response(200, {"cordoned": True, "reason": "new disks"})
    with pytest.raises(AgentError, match="new disks"):
        run(module, [container_view("running"), cordoned], state="restarted", **{key: "c"})


def test_an_older_agent_has_no_cordon():
    answers = [change(), MISSING, container_view("stopped"), container_view("running")]
    assert run("container", answers, name="c", image="x", state="restarted")[0]["changed"]


@pytest.mark.parametrize(
    "given, line, body",
    [
        ({"reason": "new disks"}, "PUT /v1/node/cordon", {"reason": "new disks"}),
        ({"state": "absent"}, "DELETE /v1/node/cordon", None),
    ],
)
def test_a_node_is_cordoned_and_opened(given, line, body):
    after = {"cordoned": body is not None, "reason": "new disks"}
    result, lines, asked = run("cordon", [change({"verb": "cordon"}, after=after)], **given)
    assert (lines, asked[0].body) == ([line], body)
    assert (result["changed"], result["cordon"]) == (True, after)
    asked = run("cordon", [change()], check_mode=True, **given)[2]
    assert asked[0].query == [("plan", "true")]


def test_a_restart_is_only_told_in_check_mode():
    result, lines, dummy = run("container", [change()], check_mode=True, name="c", image="x", state="restarted")
    assert len(lines) == 1
    assert result["changed"] is True


@pytest.mark.parametrize(
    "status, state, verbs",
    [
        ("running", "started", []),
        ("stopped", "started", ["start"]),
        (None, "started", ["start"]),
        ("running", "stopped", ["stop"]),
        ("paused", "stopped", ["stop"]),
        ("stopped", "stopped", []),
        ("running", "restarted", ["stop", "start"]),
        ("created", "restarted", ["start"]),
    ],
)
def test_a_container_without_image_keeps_its_description(status, state, verbs):
    view = container_view(status)
    after = [OPEN] * (len(verbs) > 1) + [container_view(verb) for verb in verbs]
    result, lines, dummy = run("container", [view] + after, name="c", state=state)
    asked = [line for line in lines if line != "GET /v1/node/cordon"]
    assert asked == ["GET /v1/default/containers/c"] + ["POST /v1/default/containers/c/" + verb for verb in verbs]
    assert result["changed"] is bool(verbs)
    assert result["container"] == result["diff"]["after"]
    assert result["diff"]["before"]["status"] == (status or "created")
    assert result["container"]["status"] == ((verbs or [status])[-1] or "created")
    assert result["container"]["labels"] == {"a": "b"}
    assert "env" not in result["container"]


def test_an_unknown_container_cannot_be_started_without_image():
    with pytest.raises(AgentError, match="'image'"):
        run("container", [MISSING], name="c", state="started")


def test_names_are_looked_up_in_one_delivery():
    result, lines, dummy = run("image_info", [Response(200, {"name": "a"}), MISSING], name=["a", "b"])
    assert lines == ["GET /v1/default/images/a", "GET /v1/default/images/b"]
    assert result == {"changed": False, "exists": False, "images": [{"name": "a"}]}


def test_filters_are_passed_on():
    result, dummy, asked = run("container_info", [Response(200, {"items": [{"id": "c"}]})], filters=["id==c", "id==d"])
    assert asked[0].query == [("filter", "id==c"), ("filter", "id==d")]
    assert result == {"changed": False, "exists": True, "containers": [{"id": "c"}]}


def test_a_node_tells_version_and_figures():
    result, lines, dummy = run("node_info", [Response(200, {"version": "1"}), Response(200, {"root": "/r"})])
    assert lines == ["GET /v1/version", "GET /v1/info"]
    assert result == {"changed": False, "version": {"version": "1"}, "node": {"root": "/r"}}


def outcome(code=0, **more):
    basis = {"exit_code": code, "stdout": "a\nb\n", "stderr": "", "duration": 0.5, "timed_out": False, "truncated": False}
    return Response(200, dict(basis, **more))


def test_a_command_is_executed():
    result, lines, dummy = run("container_exec", [outcome()], container="c", argv=["true"])
    assert lines == ["POST /v1/default/containers/c/exec"]
    assert result["changed"] is True
    assert (result["rc"], result["stdout_lines"], result["stderr_lines"]) == (0, ["a", "b"], [])
    assert result["failed"] is False


def test_a_code_other_than_0_fails():
    result = run("container_exec", [outcome(3)], container="c", argv=["false"])[0]
    assert (result["failed"], result["rc"], result["msg"]) == (True, 3, "non-zero return code")


def test_a_code_other_than_0_may_be_wanted():
    result = run("container_exec", [outcome(3)], container="c", argv=["false"], fail_on_rc=False)[0]
    assert (result["failed"], result["rc"]) == (False, 3)


def test_a_command_that_ran_out_of_time_fails_whatever_is_wanted():
    result = run("container_exec", [outcome(137, timed_out=True)], container="c", argv=["x"], timeout=5, fail_on_rc=False)[0]
    assert result["failed"] is True
    assert "5 seconds" in result["msg"]


def test_cut_output_is_warned_of():
    assert run("container_exec", [outcome(truncated=True)], container="c", argv=["x"])[0]["warnings"]


@pytest.mark.parametrize(
    "option, code, runs", [("creates", 0, False), ("creates", 1, True), ("removes", 0, True), ("removes", 1, False)]
)
@pytest.mark.parametrize("check_mode", [True, False])
def test_paths_in_the_container_decide(option, code, runs, check_mode):
    script = [outcome(code)] + [outcome()] * (runs and not check_mode)
    result, dummy, asked = run("container_exec", script, check_mode=check_mode, container="c", argv=["x"], **{option: "/p"})
    assert asked[0].body == {"args": ["test", "-e", "/p"]}
    assert result["changed"] is runs
    assert not result.get("skipped")


def test_a_container_without_test_cannot_look_for_paths():
    with pytest.raises(AgentError, match="creates: .*no usable 'test'"):
        run("container_exec", [outcome(127, stderr="not found")], container="c", argv=["x"], creates="/p")


EXECS = "/v1/default/containers/c/execs"
WORKER = {"id": "worker", "pid": 7, "status": "running"}


def test_a_detached_command_is_left_running():
    result, lines, asked = run("container_exec", [Response(201, WORKER)], container="c", argv=["x"], env={"A": "b"}, detach=True)
    assert lines == ["POST " + EXECS]
    assert asked[0].body == {"args": ["x"], "env": {"A": "b"}, "terminal": False}
    assert (result["changed"], result["exec_id"], result["pid"], result["rc"]) == (True, "worker", 7, 0)


@pytest.mark.parametrize("check_mode", [True, False])
def test_one_of_its_id_that_runs_is_enough(check_mode):
    given = {"container": "c", "argv": ["x"], "detach": True, "exec_id": "worker"}
    result, lines, dummy = run("container_exec", [Response(200, WORKER)], check_mode=check_mode, **given)
    assert lines == ["GET %s/worker" % EXECS]
    assert (result["changed"], result["exec_id"]) == (False, "worker")


@pytest.mark.parametrize("found", [Response(404, {}), Response(200, dict(WORKER, status="stopped"))])
def test_one_that_has_ended_makes_room(found):
    given = {"container": "c", "argv": ["x"], "detach": True, "exec_id": "worker"}
    script = [found] + [Response(200, {})] * (not found.missing) + [Response(201, WORKER)]
    result, lines, asked = run("container_exec", script, **given)
    removal = [] if found.missing else ["DELETE %s/worker" % EXECS]
    assert lines == ["GET %s/worker" % EXECS] + removal + ["POST " + EXECS]
    assert asked[-1].body["id"] == "worker"
    assert result["changed"] is True
    result, lines, dummy = run("container_exec", [found], check_mode=True, **given)
    assert (lines, result["changed"]) == (["GET %s/worker" % EXECS], True)


def test_a_detached_command_has_no_stdin():
    with pytest.raises(AgentError, match="stdin: "):
        run("container_exec", [], container="c", argv=["x"], stdin="a", detach=True)


def test_check_mode_executes_nothing():
    result, lines, dummy = run("container_exec", [], check_mode=True, container="c", argv=["x"])
    assert lines == []
    assert (result["skipped"], result["changed"]) == (True, False)
