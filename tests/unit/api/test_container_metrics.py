"""Containers' figures as a Prometheus server reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tricorn.api.container_metrics import CADVISOR, CONTAINERD, render
from tricorn.api.metrics import Metrics
from tricorn.model.samples import ContainerSample

NETWORK = {"eth0": {"receive_bytes": 7.0, "transmit_dropped": 1.0}}


def sample(name: str, **figures: float) -> ContainerSample:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return ContainerSample(
        "team",
        name,
        "example.com/a:1",
        "crun",
        "running",
        7,
        f"/tricorn/team/{name}",
        at,
        at,
        figures,
        NETWORK,
    )


def parsed(text: str) -> dict[str, list[tuple[dict[str, str], Any]]]:
    found: dict[str, list[tuple[dict[str, str], Any]]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            found.setdefault(each.name, []).append((each.labels, each.value))
    return found


def test_names_and_labels_are_those_of_the_field() -> None:
    every = {family.figure: 2.0 for family in (*CADVISOR, *CONTAINERD)}
    found = parsed(render([sample("web", **every)]))
    odd = "container_memory_failcnt"  # a counter whose name cAdvisor chose before the convention
    assert {family.name for family in (*CADVISOR, *CONTAINERD)} - {odd} <= set(found)
    labels = {"id": "/tricorn/team/web", "image": "example.com/a:1", "name": "web", "namespace": "team"}
    assert found["container_memory_working_set_bytes"] == [(labels, 2.0)]
    assert found["container_cpu_usage_seconds_total"] == [({**labels, "cpu": "total"}, 2.0)]
    assert [more["failure_type"] for more, _ in found["container_memory_failures_total"]] == [
        "pgfault",
        "pgmajfault",
    ]
    own = {"container_id": "web", "namespace": "team", "runtime": "crun"}
    assert found["container_cpu_usage_usec_microseconds"] == [(own, 2e6)]
    assert found["container_network_receive_bytes_total"] == [({**labels, "interface": "eth0"}, 7.0)]
    assert found["container_network_transmit_packets_dropped_total"][0][1] == 1.0
    assert found["container_start_time_seconds"][0][1] == 1767225600


def test_no_name_is_there_twice_and_what_is_unknown_is_left_out() -> None:
    text = render([sample("one", pids=1.0), sample("two")])
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    assert "container_threads" in types
    assert "container_memory_rss" not in types
    assert render([]) == ""


def test_labels_are_escaped() -> None:
    odd = ContainerSample(
        "n",
        "c",
        'a"b\\c\nd',
        "crun",
        "running",
        1,
        "/c",
        datetime(2026, 1, 1, tzinfo=UTC),
        None,
        {"pids": 1.5},
    )
    (labels, value), *_ = parsed(render([odd]))["container_threads"]
    assert (labels["image"], value) == ('a"b\\c\nd', 1.5)


async def test_they_stand_beside_the_agents_own() -> None:
    metrics = Metrics(dict, version="1")

    async def take() -> list[ContainerSample]:
        return [sample("web", pids=3.0)]

    metrics.containers = take
    found = parsed((await metrics.render()).decode())
    assert found["container_threads"][0][1] == 3.0
    assert "tricorn_build_info" in found
