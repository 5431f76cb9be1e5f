"""The commands of containerd's own client that are about the daemon itself and about names in it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tricorn import __version__
from tricorn_testing.ctr import Ctr
from tricorn_testing.daemon import Daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]


@pytest.fixture
def since_2(ctr: Ctr) -> Ctr:
    """For commands that the old version doesn't have."""
    if ctr.version == "1.6":
        pytest.skip("ctr 1.6 has no such command")
    return ctr


def test_version(ctr: Ctr, ctr_agent: Daemon) -> None:
    server = ctr.run("version").stdout.partition("Server:")[2]
    assert f"Version:  {__version__}" in server
    assert f"UUID: {(ctr_agent.root / 'uuid').read_text().strip()}" in server


def test_info(since_2: Ctr, ctr_agent: Daemon) -> None:
    server = json.loads(since_2.run("info").stdout)["server"]
    assert server["pid"] == ctr_agent.pid
    assert server["pidns"] == os.stat("/proc/self/ns/pid").st_ino
    assert "deprecations" not in server


def test_plugins(ctr: Ctr) -> None:
    rows = ctr.rows("plugins", "ls")
    there = {(row["TYPE"], row["ID"]): row["STATUS"] for row in rows}
    assert set(there.values()) <= {"ok", "skip"}
    for wanted in (
        ("io.containerd.content.v1", "content"),
        ("io.containerd.snapshotter.v1", "native"),
        ("io.containerd.snapshotter.v1", "overlayfs"),
        ("io.containerd.metadata.v1", "bolt"),
        ("io.containerd.runtime.v2", "task"),
        ("io.containerd.grpc.v1", "images"),
        ("io.containerd.grpc.v1", "healthcheck"),
    ):
        assert wanted in there
    chosen = ctr.rows("plugins", "ls", "id==native")
    assert [row["TYPE"] for row in chosen] == ["io.containerd.snapshotter.v1"]


def test_a_runtime_tells_of_itself(since_2: Ctr) -> None:
    told = json.loads(since_2.run("plugins", "inspect-runtime").stdout)
    assert told["Name"] == "io.containerd.runc.v2"
    assert told["Annotations"]["tricorn.runtime"] in {"crun", "runc"}
    runc = json.loads(since_2.run("plugins", "inspect-runtime", "--runc-binary", "runc").stdout)
    assert runc["Annotations"]["tricorn.runtime"] == "runc"
    assert "runc" in json.dumps(runc["Options"])


def test_an_unknown_runtime_is_named(since_2: Ctr) -> None:
    failed = since_2.run("plugins", "inspect-runtime", "--runtime", "io.example.unknown.v1", check=False)
    assert failed.returncode
    assert "io.example.unknown.v1" in failed.stderr


def test_life_of_a_namespace(ctr: Ctr) -> None:
    name = f"{ctr.namespace}-life"
    ctr.run("namespaces", "create", name, "a=b")
    failed = ctr.run("namespaces", "create", name, check=False)
    assert failed.returncode
    assert "already exists" in failed.stderr
    ctr.run("namespaces", "label", name, "c=d", "a=")
    labels = {row["NAME"]: row["LABELS"] for row in ctr.rows("namespaces", "ls")}
    assert labels[name] == "c=d"
    ctr.run("leases", "create", "--id", "keeper", namespace=name)
    failed = ctr.run("namespaces", "remove", name, check=False)
    assert "leases (1)" in failed.stderr
    ctr.run("leases", "rm", "keeper", namespace=name)
    ctr.run("namespaces", "remove", name)
    assert name not in ctr.run("namespaces", "ls", "-q").stdout.split()


def test_life_of_a_lease(ctr: Ctr) -> None:
    ctr.run("leases", "create", "--id", "mine", "--expires", "1h", "who=me")
    ctr.run("leases", "create", "--expires", "0s")
    rows = {row["ID"]: row["LABELS"] for row in ctr.rows("leases", "ls")}
    assert "who=me" in rows["mine"]
    assert "containerd.io/gc.expire=" in rows["mine"]
    assert ctr.run("leases", "ls", "-q", "id==mine").stdout.split() == ["mine"]
    ctr.run("leases", "rm", "--sync", *rows)
    assert not ctr.run("leases", "ls", "-q").stdout.split()


def test_no_deprecations_and_no_sandboxes(since_2: Ctr) -> None:
    assert not since_2.run("deprecations", "list").stdout.strip()
    assert since_2.rows("sandboxes", "ls") == []


class Lines:
    """What a program has printed so far, read as it comes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._news = threading.Condition()
        self._ended = False
        self.seen: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.seen.append(line.decode())
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, text: str, timeout: float) -> bool:
        """Return whether a line with `text` comes within `timeout` seconds."""
        with self._news:
            self._news.wait_for(lambda: self._ended or any(text in line for line in self.seen), timeout)
            return any(text in line for line in self.seen)

    def join(self) -> None:
        self._reader.join(60)


@contextmanager
def events_of(ctr: Ctr, *filters: str) -> Iterator[Lines]:
    """Have `ctr events` listen; the block begins when it does."""
    with ctr.running("events", *filters) as process:
        lines = Lines(process)
        try:
            for _ in range(600):
                ctr.run("namespaces", "label", ctr.namespace, "tick=tock")
                if lines.wait_for("tock", timeout=0.1):
                    break
            yield lines
        finally:
            process.kill()
            lines.join()


def test_events(ctr: Ctr) -> None:
    ctr.run("namespaces", "create", ctr.namespace, check=False)
    name = f"{ctr.namespace}-heard"
    with events_of(ctr) as lines:
        ctr.run("namespaces", "create", name, "a=b")
        ctr.run("namespaces", "remove", name)
        assert lines.wait_for("/namespaces/delete", timeout=60), lines.seen
    made = next(line for line in lines.seen if "/namespaces/create" in line and name in line)
    assert f" {name} " in made
    assert json.loads(made[made.index("{") :]) == {"name": name, "labels": {"a": "b"}}


def test_filtered_events(ctr: Ctr) -> None:
    ctr.run("namespaces", "create", ctr.namespace, check=False)
    with events_of(ctr, 'topic=="/namespaces/update"') as lines:
        ctr.run("namespaces", "create", f"{ctr.namespace}-quiet")
        ctr.run("namespaces", "label", ctr.namespace, "last=one")
        assert lines.wait_for("last", timeout=60), lines.seen
    assert all("/namespaces/update" in line for line in lines.seen)


def test_stop_and_start_with_clients_connected(ctr: Ctr, ctr_agent: Daemon) -> None:
    """A subscriber hears that the agent is gone, the agent doesn't wait for it, and clients come back to
    the same installation.
    """
    before = ctr.run("version").stdout
    ctr.run("namespaces", "create", ctr.namespace, check=False)
    with ctr.running("events") as process:
        lines = Lines(process)
        for _ in range(600):
            ctr.run("namespaces", "label", ctr.namespace, "tick=tock")
            if lines.wait_for("tock", timeout=0.1):
                break
        assert ctr_agent.terminate() == 0
        try:
            assert process.wait(60) != 0
            lines.join()
            assert "navailable" in "".join(lines.seen) or "stopping" in "".join(lines.seen)
        finally:
            ctr_agent.start()
    assert ctr.namespace in ctr.run("namespaces", "ls", "-q").stdout.split()
    assert ctr.run("version").stdout == before  # its UUID included
