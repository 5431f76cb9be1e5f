"""Checkpoints of programs as people run them: servers with open connections, databases, much memory."""

from __future__ import annotations

import contextlib
import fcntl
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.counting_server import counting_server
from tricorn_testing.criu import SecludedDaemon, checkpointing_daemon, two_names
from tricorn_testing.daemon import ApiError
from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_files
from tricorn_testing.netns import inside, named_netns
from tricorn_testing.registry import Registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
NS = "default"
PYTHON = "/usr/bin/python3"  # the distribution's: it and all that it loads is below /usr
USR = {"target": "/usr", "source": "/usr", "options": ["ro"]}
MEBIBYTE = 1 << 20

SERVER = counting_server('"127.0.0.1"', workers=3)
# Writes as fast as it can, each row in a transaction of its own, with the rows that are due counted beside;
# others keep out by locks, which CRIU brings back (but those on files that are mapped, as with a shared WAL).
WRITER = """
import itertools, sqlite3
base = sqlite3.connect("/data/base.db", isolation_level=None)
base.execute("pragma synchronous = off")
base.execute("create table rows (id integer primary key, text text)")
base.execute("create table due (count integer)")
base.execute("insert into due values (0)")
for number in itertools.count(1):
    base.execute("begin immediate")
    base.execute("insert into rows values (?, ?)", (number, "x" * 500))
    base.execute("update due set count = count + 1")
    base.execute("commit")
"""
# Looks whether the file is whole, and counts in one transaction.
CHECK = """
import sqlite3
base = sqlite3.connect("/data/base.db", timeout=30)
assert base.execute("pragma integrity_check").fetchall() == [("ok",)]
print(*base.execute("select count(*), max(id), (select count from due) from rows").fetchone())
"""
# 200 MiB that don't compress or repeat, their sum told whenever asked; a lock, a datagram socket to outside.
HEAVY = """
import fcntl, hashlib, os, socket, time
memory = bytearray(b"".join(hashlib.shake_256(b"%d" % part).digest(1 << 20) for part in range(8)) * 25)
for at in range(0, len(memory), 4096):
    memory[at:at + 8] = at.to_bytes(8, "little")
lock = open("/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.connect("{place}/log")
while True:
    log.send(hashlib.blake2b(memory).hexdigest().encode())
    time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def agent() -> Iterator[SecludedDaemon]:
    with checkpointing_daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def image(agent: SecludedDaemon, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A shell, and room for the /usr of this machine."""
    layout = ImageLayout(Path(tmp_path_factory.mktemp("workloads")) / "layout")
    builder = busybox_files(LayerBuilder()).symlink("lib", "usr/lib").symlink("lib64", "usr/lib64")
    layout.tag("1", layout.add_image([builder.layer("")], {"Env": ["PATH=/bin:/usr/bin"]}))
    reference = registry.push(layout, "1", "workloads/usr:1")
    agent.put(f"/v1/{NS}/images", {"reference": reference, "plain_http": True})
    return reference


@pytest.fixture
def names(agent: SecludedDaemon, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    with two_names(agent, request.node.name) as names:
        yield names


def body(image: str, program: str, **more: Any) -> dict[str, Any]:
    return {"image": image, "args": [PYTHON, "-c", program], "mounts": [USR], **more}


def pid_of(agent: SecludedDaemon, name: str) -> int:
    return int(agent.get(f"/v1/{NS}/containers/{name}")["task"]["pid"])


def ask(peer: socket.socket) -> tuple[int, int]:
    peer.sendall(b"x" * 10)
    pid, told = peer.makefile("rb").readline().split()
    return int(pid), int(told)


def test_a_server_of_many_processes_keeps_its_connections(agent, image, names):
    """The clients aren't dumped: they are outside, in the network namespace that the server comes back to."""
    first, second = names
    with named_netns() as netns:
        wanted = body(image, SERVER, network=netns)
        agent.put(f"/v1/{NS}/containers/{first}", wanted)
        path = f"/v1/{NS}/containers/{first}"
        connect: Callable[[], socket.socket] = lambda: inside(  # noqa: E731
            netns, lambda: socket.create_connection(("127.0.0.1", 8080), timeout=30)
        )
        eventually(lambda: " 0A " in Path(f"/proc/{pid_of(agent, first)}/net/tcp").read_text())
        clients = [connect() for _ in range(4)]
        answers = [ask(client) for client in clients]
        made = agent.cli("checkpoint", "--tcp-established", first, "test/server:1")
        assert made.returncode == 0, made.stderr
        agent.delete(path, force=True)
        mounts = ["-v", "/usr:/usr:ro", "--net", netns]
        done = agent.cli("restore", "--tcp-established", *mounts, "test/server:1", second)
        assert done.returncode == 0, done.stderr
        assert [ask(client) for client in clients] == [(pid, told + 10) for pid, told in answers]
        clients.append(connect())
        assert ask(clients[-1])[1] == 10
        for client in clients:
            client.close()


def test_a_database_stays_whole(agent, image, names, short_path):
    """It is in a volume: SQLite notices that a file came back as another inode, and writes no more."""
    first, second = names
    mounts = [USR, {"target": "/data", "source": str(short_path)}]
    agent.put(f"/v1/{NS}/containers/{first}", body(image, WRITER, mounts=mounts))

    def look(name: str) -> list[int]:
        """Return how many rows there are, the last, and how many there should be."""
        wanted = {"args": [PYTHON, "-c", CHECK]}
        answer = agent.post(f"/v1/{NS}/containers/{name}/exec", wanted)
        return [int(word) for word in answer["stdout"].split()] if answer["exit_code"] == 0 else [0]

    eventually(lambda: look(first)[-1] > 10)
    agent.post(f"/v1/{NS}/containers/{first}/checkpoint", {"image": "test/db:1"})
    request = {"image": "test/db:1", "id": second, "container": {"image": image, "mounts": mounts}}
    agent.post(f"/v1/{NS}/checkpoints/restore", request)
    before = look(second)[-1]
    eventually(lambda: look(second)[-1] > before)
    rows, last, due = look(second)
    assert rows == last == due


def test_two_hundred_megabytes_with_a_lock_and_a_socket_to_outside(agent, image, names, short_path):
    first, second = names
    outside = str(short_path)  # CRIU connects to what the socket's owner calls it
    mounts = [USR, {"target": outside, "source": outside}]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(f"{outside}/log")
        log.settimeout(60)
        agent.put(
            f"/v1/{NS}/containers/{first}",
            body(image, HEAVY.format(place=outside), mounts=mounts, network="host"),
        )
        told = log.recv(200)
        with pytest.raises(ApiError, match="--ext-unix"):
            agent.post(f"/v1/{NS}/containers/{first}/checkpoint", {"image": "test/heavy:1", "rw": False})
        options = {"image": "test/heavy:1", "external_unix_sockets": True}
        made = agent.post(f"/v1/{NS}/containers/{first}/checkpoint", options)
        assert made["size"] > 200 * MEBIBYTE
        drain(log)
        wanted = {"image": image, "mounts": mounts, "network": "host"}
        agent.post(
            f"/v1/{NS}/checkpoints/restore",
            {"image": "test/heavy:1", "id": second, "external_unix_sockets": True, "container": wanted},
        )
        assert log.recv(200) == told  # every page is as it was
        with open(f"/proc/{pid_of(agent, second)}/root/lock", "rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def drain(log: socket.socket) -> None:
    """Drop what came so far; nobody sends any more."""
    log.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            log.recv(200)
    log.settimeout(60)


def test_a_shell_at_a_terminal_counts_on(agent, image, names):
    first, second = names
    counter = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"]
    agent.put(f"/v1/{NS}/containers/{first}", {"image": image, "args": counter, "terminal": True})

    def last(name: str) -> int:
        lines = agent.cli("logs", name).stdout.split()
        return int(lines[-1]) if lines else 0

    eventually(lambda: last(first) > 1)
    made = agent.cli("checkpoint", "--shell-job", first, "test/terminal:1")
    assert made.returncode == 0, made.stderr
    reached = last(first)
    done = agent.cli("restore", "-t", "--shell-job", "test/terminal:1", second)
    assert done.returncode == 0, done.stderr
    assert agent.get(f"/v1/{NS}/containers/{second}")["task"]["terminal"] is True
    eventually(lambda: last(second) > reached)
