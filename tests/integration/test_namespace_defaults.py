"""A namespace's labels choose snapshotter and runtime where a request leaves them open."""

from __future__ import annotations

import pytest

from tricorn_testing.daemon import Daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]

LABELS = {"containerd.io/defaults/snapshotter": "native", "containerd.io/defaults/runtime": "runc"}


def test_images_and_containers_follow_the_namespaces_labels(
    ctr_agent: Daemon, busybox_reference: str
) -> None:
    ctr_agent.put("/v1/namespaces/chosen", {"labels": LABELS})
    ctr_agent.put("/v1/chosen/images", {"reference": busybox_reference, "plain_http": True})
    unpacked = ctr_agent.get("/v1/chosen/snapshots")["items"]
    assert {snapshot["snapshotter"] for snapshot in unpacked} == {"native"}
    wanted = {"image": busybox_reference, "args": ["true"], "state": "present"}
    ctr_agent.put("/v1/chosen/containers/web", wanted)
    made = ctr_agent.get("/v1/chosen/containers/web")
    assert (made["snapshotter"], made["runtime"]) == ("native", "runc")

    ctr_agent.put("/v1/chosen/containers/own", {**wanted, "snapshotter": "native", "runtime": "runc"})
    again = ctr_agent.put("/v1/chosen/containers/web", wanted)
    assert not again["changed"]
