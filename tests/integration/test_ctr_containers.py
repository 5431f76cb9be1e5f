"""`ctr containers` against the agent: a test for each command."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tricorn_testing.ctr import Ctr
from tricorn_testing.daemon import Daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]


@pytest.fixture
def created(ctr: Ctr, busybox: str, container: str) -> str:
    """A container that was made and never run."""
    ctr.run("containers", "create", "--label", "tier=web", busybox, container, "sleep", "1000")
    return container


def info(ctr: Ctr, name: str) -> dict[str, Any]:
    return dict(json.loads(ctr.run("containers", "info", name).stdout))


def rows(ctr: Ctr, *words: str) -> dict[str, dict[str, str]]:
    return {row["CONTAINER"]: row for row in ctr.rows("containers", "ls", *words)}


def test_create_ls_info(ctr: Ctr, busybox: str, created: str) -> None:
    row = rows(ctr)[created]
    assert (row["IMAGE"], row["RUNTIME"]) == (busybox, "io.containerd.runc.v2")
    shown = info(ctr, created)
    assert (shown["ID"], shown["Image"], shown["SnapshotKey"]) == (created, busybox, created)
    assert shown["Labels"]["tier"] == "web"
    assert shown["Runtime"]["Name"] == "io.containerd.runc.v2"
    assert shown["Spec"]["process"]["args"] == ["sleep", "1000"]
    assert shown["Spec"]["linux"]["cgroupsPath"] == f"/{ctr.namespace}/{created}"
    assert {row["KEY"]: row["KIND"] for row in ctr.rows("snapshots", "ls")}[created] == "Active"


def test_create_twice(ctr: Ctr, busybox: str, created: str) -> None:
    done = ctr.run("containers", "create", busybox, created, check=False)
    assert done.returncode != 0
    assert "already exists" in done.stderr
    assert info(ctr, created)["Spec"]["process"]["args"] == ["sleep", "1000"]


def test_ls_with_filters(ctr: Ctr, created: str) -> None:
    def found(*filters: str) -> bool:
        return created in ctr.run("containers", "ls", "-q", *filters).stdout.split()

    assert found("labels.tier==web")
    assert found(f"id=={created},runtime.name==io.containerd.runc.v2")
    assert not found("labels.tier==db")
    assert found("labels.tier==db", f"id=={created}")
    refused = ctr.run("containers", "ls", "id==", check=False)
    assert refused.returncode != 0


def test_ls_of_a_namespace_without_containers(ctr: Ctr) -> None:
    assert ctr.rows("containers", "ls", namespace="empty") == []


def test_label(ctr: Ctr, created: str) -> None:
    ctr.run("containers", "label", created, "tier=db", "new=1")
    labels = info(ctr, created)["Labels"]
    assert (labels["tier"], labels["new"]) == ("db", "1")
    ctr.run("containers", "label", created, "tier=")
    assert "tier" not in info(ctr, created)["Labels"]


def test_delete(ctr: Ctr, created: str) -> None:
    ctr.run("containers", "delete", created)
    assert created not in rows(ctr)
    assert created not in [row["KEY"] for row in ctr.rows("snapshots", "ls")]
    gone = ctr.run("containers", "delete", created, check=False)
    assert gone.returncode != 0
    assert "not found" in gone.stderr


def test_delete_keeping_the_snapshot(ctr: Ctr, created: str) -> None:
    ctr.run("snapshots", "label", created, "containerd.io/gc.root=kept")  # else a collection may take it
    ctr.run("containers", "delete", "--keep-snapshot", created)
    assert created not in rows(ctr)
    assert created in [row["KEY"] for row in ctr.rows("snapshots", "ls")]
    ctr.run("snapshots", "rm", created)


def test_delete_of_what_runs(ctr: Ctr, created: str) -> None:
    ctr.run("tasks", "start", "-d", created)
    done = ctr.run("containers", "delete", created, check=False)
    assert done.returncode != 0
    assert "non stopped" in done.stderr
    assert created in rows(ctr)


def test_info_of_nothing(ctr: Ctr) -> None:
    done = ctr.run("containers", "info", "nobody", check=False)
    assert done.returncode != 0
    assert "not found" in done.stderr


def test_a_container_of_the_http_door(ctr: Ctr, busybox: str, ctr_agent: Daemon, container: str) -> None:
    path = f"/v1/{ctr.namespace}/containers/{container}"
    desired = {"image": busybox, "args": ["sleep", "1000"], "labels": {"made": "by-http"}}
    ctr_agent.put(path, desired)
    shown = info(ctr, container)
    assert (shown["Image"], shown["Labels"]["made"]) == (busybox, "by-http")
    assert shown["Runtime"]["Name"] == "io.containerd.runc.v2"
    spec = ctr_agent.get(path)["spec"]
    assert {key: shown["Spec"][key] for key in ("hostname", "mounts")} == {
        key: spec[key] for key in ("hostname", "mounts")
    }
    assert shown["Spec"]["process"]["args"] == ["sleep", "1000"]
    ctr.run("containers", "label", container, "more=1")
    assert ctr_agent.get(path)["labels"]["more"] == "1"
    assert ctr_agent.put(path, desired)["changed"] is False  # a label of somebody else's is no difference


def test_a_container_made_here_is_no_ones_desired_state(
    ctr: Ctr, busybox: str, ctr_agent: Daemon, created: str
) -> None:
    path = f"/v1/{ctr.namespace}/containers/{created}"
    planned = ctr_agent.put(path, {"image": busybox, "args": ["sleep", "1000"]}, plan="true")
    assert [action["verb"] for action in planned["actions"]][:1] == ["recreate"]
    ctr_agent.post(f"{path}/start")
    assert ctr_agent.get(path)["task"]["status"] == "running"
    assert {row["TASK"]: row["STATUS"] for row in ctr.rows("tasks", "ls")}[created] == "RUNNING"


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_checkpoint_without_a_task_and_restore_of_nothing(ctr: Ctr, created: str, verb: str) -> None:
    words = (
        ["--task", created, "local/checkpoint:1"] if verb == "checkpoint" else ["other", "local/checkpoint:1"]
    )
    done = ctr.run("containers", verb, *words, check=False)
    assert done.returncode != 0
    assert done.stderr
